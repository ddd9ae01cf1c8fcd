"""The backbone of a model, its stages, and names for the layers of tables and pictures."""

import re
from dataclasses import dataclass

from torch import nn

DOWNSAMPLING = 'Downsampling'  # What precedes the blocks of a stage.


def find_backbone(model: nn.Module) -> tuple[str, nn.Module]:
    """Find the part of a model that is called its backbone, and its path.

    Args:
        model: Any model; without such a part it is its own backbone, and the path is empty.
    """
    named = (pair for pair in model.named_modules() if f'.{pair[0]}'.endswith('.backbone'))
    return next(named, ('', model))


@dataclass(frozen=True)
class Layer:
    """A row in a table of layers: a layer, or several that the paper counts as one.

    Args:
        name: Path of the module that it is, or of the first.
        part: ``'backbone'``, ``'neck'`` or ``'head'``.
        stage: The backbone's stage, else empty.
        block: The stage's block, if its blocks have names, else empty.
        operator: What the paper calls it, or its path within the stage, or neck and head.
    """

    name: str
    part: str
    stage: str
    block: str
    operator: str

    @property
    def key(self) -> tuple[str, str, str]:
        """How a table of firing rates names it."""
        return self.stage or self.part, self.block, self.operator


class LayerNames:
    """Names for the layers of a model, and the part that each belongs to.

    Stages are the children of the backbone, unless it has a method ``locate_layer``, which returns
    stage, block and the name in there for a layer's name, or None. Modules name the rows of their
    parts in ``row_names``.

    Args:
        model: The model.
    """

    def __init__(self, model: nn.Module) -> None:
        name, backbone = find_backbone(model)
        self._prefix = f'{name}.' if name else ''
        self._locate = getattr(backbone, 'locate_layer', _locate_child)
        self._rows = {
            f'{name}.{part}'.lstrip('.'): row
            for name, module in model.named_modules()
            for part, row in getattr(module, 'row_names', {}).items()
        }

    def layer(self, name: str) -> Layer:
        """Give the row of the module at a path."""
        stage, block, rest = self._place(name) or ('', '', '')
        part = 'backbone'
        if not name.startswith(self._prefix):
            part = 'neck' if name.startswith('neck.') else 'head'
        row = self._rows.get(name) if stage else None
        return Layer(
            name, part, f'Stage {stage}' if stage else '', block, row or rest or stage or name
        )

    def stage(self, layer: str) -> str | None:
        """Name the backbone's stage that a layer belongs to, or return None."""
        place = self._place(layer)
        return place[0] if place else None

    def in_block(self, layer: str) -> bool:
        """Tell whether a layer stands in a stage, and not in the downsampling before its blocks."""
        place = self._place(layer)
        return place is not None and place[1] != DOWNSAMPLING

    def part(self, layer: str) -> str:
        """Name the part of the model: a stage of the backbone, or the neck or head."""
        stage = self.stage(layer)
        return (
            layer.removeprefix('module.').partition('.')[0] if stage is None else f'stage {stage}'
        )

    def short(self, layer: str) -> str:
        """Shorten a neuron layer's name for a label."""
        short = re.sub(r'\.(conv\.)?neuron$|_neuron$', '', layer)
        place = self._place(short)
        if place is None:
            return short
        stage, block, rest = place
        words = stage, block.lower(), '' if block == DOWNSAMPLING else rest
        return '  '.join(word for word in words if word)

    def _place(self, name: str) -> tuple[str, str, str] | None:
        if not name.startswith(self._prefix):
            return None
        return self._locate(name.removeprefix(self._prefix))


def _locate_child(name: str) -> tuple[str, str, str]:
    child, _, rest = name.partition('.')
    return child, '', rest
