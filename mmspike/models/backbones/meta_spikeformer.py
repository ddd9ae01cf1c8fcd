"""Meta-SpikeFormer, the backbone of Spike-driven Transformer V2 (Yao et al., ICLR 2024)."""

from typing import Any

from torch import nn

from mmspike.layers import (
    ATTENTIONS,
    SHORTCUTS,
    ChannelConv,
    ChannelMLP,
    ConvNorm,
    SepConv,
    take_entry_neuron,
)
from mmspike.registry import MODELS

from .architectures import resolve_arch, resolve_variant
from .five_stages import FiveStages
from .meta_spikeformer_released import RELEASED


@MODELS.register_module()
class MetaSpikeFormer(FiveStages):
    """Meta-SpikeFormer: three convolutional stages, then two of spike-driven transformers.

    Its five outputs 1a, 1b, 2, 3 and 4 are the membrane potentials that leave each stage's last
    block. They have strides 2, 4, 8, 16 and 16.

    Args:
        arch: ``'15m'``, ``'31m'``, ``'55m'``, or a dict of `dims` and `depths` (five integers
            each) and `heads`.
        time_steps: The number of time steps T, the only place where it is written.
        variant: What differs from the published model, as in the paper's ablations (table 5). A
            dict of any of

            - `token_mixer` of the convolutional blocks: ``'sepconv'``, or None for none
            - `channel_mixer` of the convolutional blocks: ``'conv'``, two 3x3 convolutions, or
              ``'mlp'``, two linear layers without a bias
            - `attention`: ``'sdsa3'``, or ``'sdsa1'``, ``'sdsa2'``, ``'sdsa4'``
            - `qkv`, `proj`: ``'repconv'``, or ``'linear'`` for a linear layer and a norm, for Q, K
              and V (RepConv-1, 2, 3) and for the projection (RepConv-4)
            - `shortcut`: ``'ms'`` adds membrane potentials, ``'vs'`` spikes to membrane potentials,
              ``'sew'`` spikes to spikes: then blocks and outputs are counts of spikes
            - `stem_stride`: 2, or 4: one stem for stage 1, both of its outputs as wide as 1b and of
              stride 4
            - `pyramid`: False makes stage 4 as wide as stage 3, nothing between them
            - `conv_stages`: how many stages are convolutional, from 3 to 0 (all-transformer)
            - `positions`: the number of positions that attention was trained at (192 for pictures
              of 192x256, at stride 16): its threshold then follows the size of the picture, and
              None leaves it the same at every size
        kwargs: As of `mmspike.models.SpikingBackbone`, which says what goes in and comes out. Norms
            must keep running statistics (BN or SyncBN).

    Raises:
        UserError: If an argument or the input's shape is not as said there, a pixel is no finite
            number, or a norm in training gets a single value.
    """

    released = RELEASED

    def __init__(
        self,
        arch: str | dict = '15m',
        time_steps: int = 1,
        *,
        variant: dict | None = None,
        **kwargs: Any,
    ) -> None:
        self.size = arch if isinstance(arch, str) and not variant else None
        self.variant = resolve_variant(variant)
        arch = resolve_arch(arch, self.variant)
        super().__init__(arch, time_steps=time_steps, **kwargs)

    def build_stages(self, in_channels: int, norm_cfg: dict | None) -> None:
        """As of `SpikingBackbone`."""
        super().build_stages(in_channels, norm_cfg)
        if self.variant['shortcut'] == 'sew':  # Its blocks leave counts of spikes.
            for downsampling in self.downsamplings[1:]:
                if isinstance(downsampling, ConvNorm):
                    take_entry_neuron(downsampling)

    def build_blocks(self, index: int, norm_cfg: dict | None) -> list[nn.Module]:
        """As of `FiveStages`."""
        dim, stride = self.arch['dims'][index], self.arch['strides'][index]
        first, other = SHORTCUTS[self.variant['shortcut']]
        blocks = [first if stride else other] + [other] * (self.arch['depths'][index] - 1)
        transforms = index >= self.variant['conv_stages']
        mixers = self._transformer_mixers if transforms else self._conv_mixers
        return [block(*mixers(dim, norm_cfg)) for block in blocks]

    def _conv_mixers(self, dim: int, norm_cfg: dict | None) -> tuple:
        token_mixer = SepConv(dim, norm_cfg=norm_cfg) if self.variant['token_mixer'] else None
        if self.variant['channel_mixer'] == 'conv':
            return token_mixer, ChannelConv(dim, norm_cfg=norm_cfg)
        return token_mixer, ChannelMLP(dim, norm_cfg=norm_cfg, bias=False)

    def _transformer_mixers(self, dim: int, norm_cfg: dict | None) -> tuple:
        attention = ATTENTIONS[self.variant['attention']](
            dim,
            self.arch['heads'],
            norm_cfg=norm_cfg,
            linear_qkv=self.variant['qkv'] == 'linear',
            linear_proj=self.variant['proj'] == 'linear',
            positions=self.variant['positions'],
        )
        return attention, ChannelMLP(dim, norm_cfg=norm_cfg)
