"""The backbone of a model, its stages, and short names for its layers."""

import re
from typing import Any

from torch import nn

from mmspike.errors import UserError

FIVE_STAGES = ('1a', '1b', '2', '3', '4')
STAGE = re.compile(r'(?:^|\.)(?:stages|downsamplings)\.(\d+)\.')


def find_backbone(model: nn.Module) -> tuple[str, Any]:
    """Find the part of a model whose stages the heat maps show, and its name.

    Args:
        model: A model with a backbone, or a backbone.

    Raises:
        UserError: If nothing in it is made of stages.
    """
    for name, module in model.named_modules():
        if isinstance(getattr(module, 'stages', None), nn.ModuleList):
            return name, module
    raise UserError(
        f'{type(model).__name__} has no backbone made of stages, so there is nothing to show heat '
        'maps of; use a backbone such as mmspike.MetaSpikeFormer.'
    )


def stage_name(index: int, count: int) -> str:
    """Name a stage as the paper does."""
    return FIVE_STAGES[index] if count == len(FIVE_STAGES) else str(index + 1)


class LayerNames:
    """Short names for the neuron layers of a model, and the part that each belongs to.

    Args:
        model: The model.
    """

    def __init__(self, model: nn.Module) -> None:
        name, backbone = find_backbone(model)
        self.prefix = f'{name}.' if name else ''
        self.num_stages = len(backbone.stages)

    def stage(self, layer: str) -> int | None:
        """Return the index of the backbone's stage that a layer belongs to, or None."""
        match = STAGE.search(layer) if layer.startswith(self.prefix) else None
        return int(match[1]) if match else None

    def in_block(self, layer: str) -> bool:
        """Tell whether a layer stands in a stage's blocks, and not in the downsampling before."""
        return layer.startswith(f'{self.prefix}stages.')

    def part(self, layer: str) -> str:
        """Name the part of the model: a stage of the backbone, or the neck or head."""
        stage = self.stage(layer)
        if stage is not None:
            return f'stage {stage_name(stage, self.num_stages)}'
        return layer.removeprefix('module.').partition('.')[0]

    def short(self, layer: str) -> str:
        """Shorten a layer's name for a label."""
        stage = self.stage(layer)
        short = re.sub(r'\.(conv\.)?neuron$|_neuron$', '', layer)
        if stage is None:
            return short
        name = stage_name(stage, self.num_stages)
        short = short.removeprefix(self.prefix)
        if not self.in_block(layer):
            return f'{name}  downsampling'
        _, _, block, rest = short.split('.', 3)
        return f'{name}  block {int(block) + 1}  {rest}'
