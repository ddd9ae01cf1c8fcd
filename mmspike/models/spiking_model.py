"""What makes a model of mmdet, mmseg or mmpretrain spike as a whole."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from mmspike.mixins import ModuleMixin
from mmspike.models.consistency import (
    check_extractor,
    check_neck,
    check_strides,
    check_weight_layers,
    told_strides,
)
from mmspike.models.inputs import check_images, explain_norm, explain_sizes
from mmspike.neurons import build_neuron, default_neuron, is_spiking, set_time_steps
from mmspike.registry import MODELS


class SpikingModel(ModuleMixin):
    """Mixin before a stock model: its backbone's neuron and time steps hold for all its parts.

    Both are written once, in the backbone's config: ``time_steps`` is handed to every neuron and
    readout behind the backbone when the model is built, and layers without a neuron config of
    their own get the backbone's.

    Raises:
        UserError: If a neck is told other channels than the backbone's outputs have, a weight layer
            behind a backbone that spikes has no neuron before it, an RoI extractor knows no time
            steps, or a head is told other strides than its features have, of an FPN now and of any
            other neck at the first image; later for images of other channels than the backbone
            takes, or too small to train on.
    """

    backbone: Any
    data_preprocessor: nn.Module

    def __init__(self, *args: Any, backbone: dict, **kwargs: Any) -> None:
        kind = backbone.get('type')
        kind = MODELS.get(kind) if isinstance(kind, str) else kind
        with default_neuron(backbone.get('neuron') or getattr(kind, 'default_neuron', None)):
            super().__init__(*args, backbone=backbone, **kwargs)
            spikes = is_spiking(build_neuron())
        self._set_behind_backbone()
        self.backbone.keep_layout = True
        if not getattr(self.backbone, 'time_reduction', None):
            for name, part in self.named_modules():
                check_extractor(name, part)
            if spikes:
                check_weight_layers(self)
        self._told_strides = tuple(told_strides(self))
        neck = getattr(self, 'neck', None)
        check_neck(neck, getattr(self.backbone, 'out_channels', None))
        keeps = hasattr(neck, 'lateral_convs') and hasattr(neck, 'fpn_convs')  # An FPN's.
        if keeps and hasattr(self.backbone, 'out_strides'):
            # So they are known before the first image; one that is large enough to tell them apart.
            kept = self.backbone.out_strides[getattr(neck, 'start_level', 0) :]
            size = 64 * math.lcm(*kept)
            levels = [(size // stride, size // stride) for stride in kept]
            check_strides(self._told_strides, (size, size), levels)
        if hasattr(self.backbone, 'in_channels'):
            self.data_preprocessor.register_forward_pre_hook(self._check_images)

    def set_time_steps(self, time_steps: int) -> None:
        """Hand the number of time steps to the backbone, and what leaves it to all other parts.

        Args:
            time_steps: The number of time steps T.
        """
        set_time_steps(self.backbone, time_steps)
        self._set_behind_backbone()

    def _set_behind_backbone(self) -> None:
        for child in self.children():
            if child is not self.backbone:
                set_time_steps(child, self.backbone.out_time_steps)

    def _check_images(self, preprocessor: nn.Module, args: tuple) -> None:
        data = args[0] if args else None
        if isinstance(data, dict):
            check_images(data.get('inputs'), self.backbone.in_channels)

    def extract_feat(self, inputs: Tensor, *args: Any, **kwargs: Any) -> Any:
        """Extract features as the stock model does, and look at their sizes.

        Args:
            inputs: Images ``[B, C, H, W]`` or sequences ``[B, T, C, H, W]``.
            args: As of the stock model.
            kwargs: As of the stock model.

        Raises:
            UserError: If a head is told other strides than the features have, or the neck needs
                images of another size.
        """
        try:
            feats = super().extract_feat(inputs, *args, **kwargs)  # type: ignore[misc]  # Stock.
        except RuntimeError as error:
            explain_sizes(error, inputs.shape[-2:], getattr(self.backbone, 'out_strides', (1,)))
            raise
        looks = self._told_strides and isinstance(feats, (list, tuple))
        if looks and not (torch.compiler.is_compiling() or torch.jit.is_tracing()):
            sizes = [feat.shape[-2:] for feat in feats]
            check_strides(self._told_strides, inputs.shape[-2:], sizes)
        return feats

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().forward(*args, **kwargs)
        except ValueError as error:
            explain_norm(error)
            raise
