"""E-SpikeFormer, the backbone of Spike-driven Transformer V3 (Yao et al., TPAMI 2025)."""

from collections.abc import Collection
from typing import Any

from torch import nn

from mmspike.layers import ESDSA, ChannelConv, ChannelMLP, LocalMetaBlock, MetaBlock, SpikeSepConv
from mmspike.models.pretrained import names_in
from mmspike.registry import MODELS

from .architectures import NUM_CONV_STAGES, resolve_arch
from .espikeformer_released import RELEASED
from .five_stages import FiveStages

ARCHITECTURES = {
    size: dict(dims=dims, depths=(1, 1, 2, 6, 2), heads=8)
    for size, dims in {
        '5m': (16, 32, 64, 128, 192),
        '10m': (24, 48, 96, 192, 240),
        '19m': (32, 64, 128, 256, 360),
    }.items()
}


@MODELS.register_module()
class ESpikeFormer(FiveStages):
    """E-SpikeFormer: three convolutional stages, then two of spike-driven transformers.

    It is built as Meta-SpikeFormer. Its separable convolutions have a neuron and a norm each, its
    transformer blocks begin with such a convolution, and its attention is `mmspike.layers.ESDSA`.
    The outputs 1a, 1b, 2, 3 and 4 are the membrane potentials that leave each stage's last block,
    with strides 2, 4, 8, 16 and 16.

    Args:
        arch: ``'5m'``, ``'10m'``, ``'19m'``, or a dict of `dims` and `depths` (five integers each)
            and `heads`.
        time_steps: The number of time steps T, the only place where it is written.
        layer_scale: Whether the three branches of a transformer block have a learned scale for each
            channel, which starts at 1. None is as the file of `pretrained` has it, and no scales
            where there is no file.
        kwargs: As of `mmspike.models.SpikingBackbone`, which says what goes in and comes out. The
            neuron is by default ``dict(type='mmspike.NILIF', levels=4, decay=0.25)``; norms must
            keep running statistics (BN or SyncBN).

    Raises:
        UserError: If an argument or the input's shape is not as said there, a pixel is no finite
            number, or a norm in training gets a single value.
    """

    released = RELEASED
    default_neuron = {'type': 'mmspike.NILIF', 'levels': 4, 'decay': 0.25}

    def __init__(
        self,
        arch: str | dict = '10m',
        time_steps: int = 1,
        *,
        layer_scale: bool | None = None,
        **kwargs: Any,
    ) -> None:
        self.size = arch if isinstance(arch, str) else None
        if layer_scale is None:
            layer_scale = _have_scales(names_in(kwargs.get('pretrained')))
        self.layer_scale = bool(layer_scale)
        super().__init__(resolve_arch(arch, ARCHITECTURES), time_steps=time_steps, **kwargs)

    def build_blocks(self, index: int, norm_cfg: dict | None) -> list[nn.Module]:
        """As of `FiveStages`."""
        dim, heads = self.arch['dims'][index], self.arch['heads']
        blocks: list[nn.Module] = []
        for _ in range(self.arch['depths'][index]):
            if index < NUM_CONV_STAGES:
                mixers = (
                    SpikeSepConv(dim, 7, norm_cfg=norm_cfg),
                    ChannelConv(dim, norm_cfg=norm_cfg),
                )
                blocks.append(MetaBlock(*mixers))
                continue
            blocks.append(
                LocalMetaBlock(
                    SpikeSepConv(dim, 3, norm_cfg=norm_cfg),
                    ESDSA(dim, heads, norm_cfg=norm_cfg),
                    ChannelMLP(dim, norm_cfg=norm_cfg),
                    dim if self.layer_scale else None,
                )
            )
        return blocks

    def explain_misfit(self, names: Collection[str]) -> str | None:
        """As of `SpikingBackbone`: the file and the model must agree on branch scales."""
        theirs = _have_scales(names)
        if theirs == self.layer_scale:
            return None
        has, lacks = ('has', 'has none') if theirs else ('has no', 'has them')
        return f'{has} branch scales, but the backbone {lacks}; set its layer_scale={theirs}'


def _have_scales(names: Collection[str]) -> bool:
    """Tell whether weights, of a released file or of ours, have branch scales."""
    return any('.layer_scale' in name or '.scales.' in name for name in names)
