"""What makes a model of mmdet, mmseg or mmpretrain spike as a whole."""

from collections.abc import Sequence
from typing import Any

from torch import nn

from mmspike.errors import UserError
from mmspike.mixins import ModuleMixin
from mmspike.models.inputs import check_channels, explain_norm
from mmspike.neurons import default_neuron, set_time_steps


class SpikingModel(ModuleMixin):
    """Mixin before a stock model: its backbone's neuron and time steps hold for all its parts.

    Both are written once, in the backbone's config: ``time_steps`` is handed to every neuron and
    readout behind the backbone when the model is built, and layers without a neuron config of
    their own get the backbone's.

    Raises:
        UserError: If a neck is told other channels than the backbone's outputs have, a head other
            strides than the levels of a feature pyramid, or an RoI extractor knows no time steps;
            later for images of other channels than the backbone takes, or too small to train on.
    """

    backbone: Any
    data_preprocessor: nn.Module

    def __init__(self, *args: Any, backbone: dict, **kwargs: Any) -> None:
        with default_neuron(backbone.get('neuron')):
            super().__init__(*args, backbone=backbone, **kwargs)
        for child in self.children():
            if child is not self.backbone:
                set_time_steps(child, self.backbone.out_time_steps)
        self.backbone.keep_layout = True
        if not getattr(self.backbone, 'time_reduction', None):
            for name, part in self.named_modules():
                _check_extractor(name, part)
        neck = getattr(self, 'neck', None)
        _check_channels(neck, getattr(self.backbone, 'out_channels', None))
        if hasattr(self.backbone, 'out_strides') and hasattr(neck, 'lateral_convs'):
            levels = self.backbone.out_strides[getattr(neck, 'start_level', 0) :]
            for name, part in self.named_modules():
                _check_strides(name, part, levels)
        if hasattr(self.backbone, 'in_channels'):
            self.data_preprocessor.register_forward_pre_hook(self._check_channels)

    def _check_channels(self, preprocessor: nn.Module, args: tuple) -> None:
        data = args[0] if args else None
        if isinstance(data, dict):
            check_channels(data.get('inputs'), self.backbone.in_channels)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().forward(*args, **kwargs)
        except ValueError as error:
            explain_norm(error)
            raise


def _check_channels(neck: nn.Module | None, outputs: Sequence[int] | None) -> None:
    told = getattr(neck, 'in_channels', None)
    if outputs and isinstance(told, (list, tuple)) and tuple(told) != tuple(outputs):
        raise UserError(
            f'the neck has in_channels={list(told)}, but the outputs of the backbone have '
            f'{list(outputs)} channels; set them there, or out_indices or out_channels of the '
            'backbone.'
        )


def _check_extractor(name: str, part: nn.Module) -> None:
    """A stock extractor takes RoIs of the first step alone, and reads channels first in memory."""
    if hasattr(part, 'roi_layers') and not hasattr(part, 'time_steps'):
        raise UserError(
            f'{name} is a {type(part).__name__}, which knows no time steps: write '
            "type='mmspike.SpikeRoIExtractor' there, which takes the same arguments, or "
            "time_reduction='mean' in the backbone."
        )


def _check_strides(name: str, part: nn.Module, levels: tuple[int, ...]) -> None:
    """Compare what a part is told with the strides of the backbone, which an FPN keeps.

    A wrong stride would train without complaint, anchors and features in different places.
    """
    told = _told_strides(part)
    chosen = getattr(part, 'in_index', None)  # Of segmentation heads.
    if told and isinstance(chosen, (list, tuple)) and max(chosen) < len(levels):
        levels = tuple(levels[i] for i in chosen)
    if told:
        # A pyramid may go on above the backbone.
        pairs = list(zip(levels, told, strict=False))
        if any(own != stride for own, stride in pairs):
            raise UserError(
                f'{name} is told the strides {tuple(told)}, but the levels that the neck makes of '
                f'the backbone have {levels}; set them there, or model.backbone.out_strides.'
            )


def _told_strides(part: nn.Module) -> list[int] | None:
    generator = getattr(part, 'prior_generator', None)
    if generator is not None:
        return [max(stride) for stride in generator.strides]  # Pairs (width, height).
    return getattr(part, 'featmap_strides', None) or getattr(part, 'feature_strides', None)
