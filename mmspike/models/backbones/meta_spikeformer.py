"""Meta-SpikeFormer, the backbone of Spike-driven Transformer V2 (Yao et al., ICLR 2024)."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModule
from mmengine.utils.dl_utils.parrots_wrapper import _BatchNorm
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mmspike.errors import UserError
from mmspike.layers import (
    ATTENTIONS,
    SHORTCUTS,
    ChannelConv,
    ChannelMLP,
    ConvNorm,
    SepConv,
    check_norm,
    no_saved_tensors,
    spike_conv_norm,
    take_entry_neuron,
)
from mmspike.models.inputs import check_pixels, explain_norm
from mmspike.neurons import (
    check_time_steps,
    default_neuron,
    fold_sequence,
    mean_over_time,
    repeat_time,
    set_time_steps,
)
from mmspike.registry import MODELS

from .architectures import (
    check_outputs,
    locate_layer,
    output_strides,
    resolve_arch,
    resolve_variant,
)
from .pretrained import load_pretrained


@contextmanager
def bn_frozen_during_recompute(module: nn.Module) -> Iterator[None]:
    """Keep the running statistics of `module`'s norms while its forward is computed again."""
    norms = [m for m in module.modules() if isinstance(m, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        with no_saved_tensors():
            yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


def _conv_mixers(dim: int, heads: int, variant: dict, norm_cfg: dict | None) -> tuple:
    token_mixer = SepConv(dim, norm_cfg=norm_cfg) if variant['token_mixer'] else None
    if variant['channel_mixer'] == 'conv':
        return token_mixer, ChannelConv(dim, norm_cfg=norm_cfg)
    return token_mixer, ChannelMLP(dim, norm_cfg=norm_cfg, bias=False)


def _transformer_mixers(dim: int, heads: int, variant: dict, norm_cfg: dict | None) -> tuple:
    attention = ATTENTIONS[variant['attention']](
        dim,
        heads,
        norm_cfg=norm_cfg,
        linear_qkv=variant['qkv'] == 'linear',
        linear_proj=variant['proj'] == 'linear',
        positions=variant['positions'],
    )
    return attention, ChannelMLP(dim, norm_cfg=norm_cfg)


@MODELS.register_module()
class MetaSpikeFormer(BaseModule):
    """Meta-SpikeFormer: three convolutional stages, then two of spike-driven transformers.

    Its five outputs 1a, 1b, 2, 3 and 4 are the membrane potentials that leave each stage's last
    block. They have strides 2, 4, 8, 16 and 16.

    Args:
        arch: ``'15m'``, ``'31m'``, ``'55m'``, or a dict of `dims` and `depths` (five integers
            each) and `heads`.
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
        time_steps: The number of time steps T, the only place where it is written.
        in_channels: Channels of the input.
        out_indices: Which outputs to return, in this order; 0 to 4 stand for 1a, 1b, 2, 3, 4.
            Stages behind the last one asked for keep their weights and are not run.
        out_channels: Channels of the outputs, for a neck that was made for another backbone: a
            neuron, a pointwise convolution and a norm bring each output to its number. None leaves
            the outputs as they are.
        out_strides: Strides of the outputs, each the stage's own or twice that: then its membrane
            potentials are max-pooled, a comparison of analog values without parameters. So stage
            4, of stride 16, becomes the level of stride 32 of a pyramid. At T = 1 the neuron behind
            fires exactly where any of the pooled ones would; at T > 1 it may differ, as each of
            those would reset by itself. None leaves the outputs as they are.
        time_reduction: None returns every time step; ``'mean'`` averages the outputs over T, so
            that whatever follows may be an ordinary network.
        neuron: Config of the neurons; ``dict(type='ReLU')`` gives the ANN twin.
        norm_cfg: Config of the norms, which must keep running statistics (BN or SyncBN).
        frozen_stages: Freeze the stages up to this index, as `out_indices` counts; -1 freezes
            none.
        norm_eval: Keep the norms in evaluation mode while training.
        with_cp: Save memory by computing each block again in the backward pass.
        channels_last: Let channels be neighbours in memory, which is how CPUs convolve fastest, and
            GPUs in half precision; None does so on CPUs. Only spiking models get features in
            that order; stock models get the usual one, for mmcv's RoIAlign misreads the other.
        init_cfg: Initialization config, such as ``dict(type='Pretrained', checkpoint=...)``.
        pretrained: A checkpoint that the backbone starts from, of our classifiers or a released one
            as it is; it is read when the weights are initialized, and must fit. A name of the model
            zoo (``open-mmlab://resnet50_v1c``) is what the backbone was whose place this one takes,
            handed down by mmseg's configs; it is left out with a warning.

    Shape:
        - input: a still image ``[B, C, H, W]``, shown at every step, or a sequence
          ``[B, T, C, H, W]``
        - output: a tuple of ``[T*B, C_i, H_i, W_i]``, time-major, or ``[B, C_i, H_i, W_i]`` with
          ``time_reduction='mean'``; H_i is ``ceil(H / out_strides[i])``

    Raises:
        UserError: If an argument or the input's shape is not as said above, a pixel is no finite
            number, or a norm in training gets a single value.
    """

    # Parts that are new in every model, and never taken from a checkpoint of another.
    not_pretrained = ('adapters.',)
    # How tables of energy and heat maps name its layers.
    locate_layer = staticmethod(locate_layer)
    row_names = {f'downsamplings.{i}': 'Conv' for i in range(5)}
    # Whether what follows takes features in any order of memory; spiking models say so.
    keep_layout = False

    def __init__(
        self,
        arch: str | dict = '15m',
        time_steps: int = 1,
        in_channels: int = 3,
        out_indices: Sequence[int] = (0, 1, 2, 3, 4),
        out_channels: Sequence[int] | None = None,
        out_strides: Sequence[int] | None = None,
        time_reduction: str | None = None,
        neuron: dict | None = None,
        norm_cfg: dict | None = None,
        frozen_stages: int = -1,
        norm_eval: bool = False,
        with_cp: bool = False,
        channels_last: bool | None = None,
        init_cfg: dict | list[dict] | None = None,
        pretrained: str | None = None,
        variant: dict | None = None,
    ) -> None:
        if pretrained is not None and (not isinstance(pretrained, str) or not pretrained):
            raise UserError(
                f'pretrained is {pretrained!r}, but it must be a checkpoint file, or None to start '
                'from scratch.'
            )
        init_cfgs = [init_cfg] if isinstance(init_cfg, Mapping) else init_cfg or []
        if pretrained and any(cfg.get('type') == 'Pretrained' for cfg in init_cfgs):
            raise UserError(
                f"the backbone has pretrained='{pretrained}', and a checkpoint in its init_cfg; "
                'leave init_cfg out and give its file as pretrained, converted or not.'
            )
        if pretrained and '://' in pretrained:
            print_log(
                f'The config names pretrained={pretrained!r}, weights of another backbone; '
                'MetaSpikeFormer starts without them. Set pretrained=None to silence this.',
                logger='current',
                level=logging.WARNING,
            )
            pretrained = None
        super().__init__(init_cfg)
        self.pretrained = pretrained
        self.size = arch if isinstance(arch, str) and not variant else None
        variant = resolve_variant(variant)
        arch = resolve_arch(arch, variant)
        last = len(arch['dims']) - 1
        if not out_indices or any(i not in range(last + 1) for i in out_indices):
            raise UserError(
                f'out_indices is {out_indices!r}, but it must name outputs from 0 to {last}.'
            )
        if time_reduction not in (None, 'mean'):
            raise UserError(f"time_reduction is {time_reduction!r}, but it must be None or 'mean'.")
        if frozen_stages not in range(-1, last + 1):
            raise UserError(
                f'frozen_stages is {frozen_stages!r}, but it must be from -1 (none) to {last}.'
            )
        check_norm(norm_cfg)
        self.time_steps = check_time_steps(time_steps)
        self.in_channels = in_channels
        self.out_indices = tuple(out_indices)
        self.time_reduction = time_reduction
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval
        self.with_cp = with_cp
        self.channels_last = channels_last
        channels = tuple(arch['dims'][i] for i in self.out_indices)
        strides = output_strides(arch['strides'])
        strides = tuple(strides[i] for i in self.out_indices)
        self.out_channels = check_outputs('out_channels', out_channels, channels, range(1, 1 << 20))
        self.out_strides = check_outputs('out_strides', out_strides, strides)
        with default_neuron(neuron):
            self._build_stages(arch, variant, in_channels, norm_cfg)
            self.adapters = nn.ModuleList(
                nn.Sequential(
                    # Windows centred as those of the 3x3 convolutions of stride 2; any size rounds
                    # up as theirs do.
                    *([nn.MaxPool2d(3, stride=2, padding=1)] if wanted > stride else []),
                    *([spike_conv_norm(own, out, norm_cfg=norm_cfg)] if out_channels else []),
                )
                for own, out, stride, wanted in zip(
                    channels, self.out_channels, strides, self.out_strides, strict=True
                )
            )
        set_time_steps(self, self.time_steps)
        self._freeze()
        self._order_weights()

    def init_weights(self) -> None:
        """Initialize the weights, those of `pretrained` last.

        Raises:
            UserError: If the file is not there, or does not fit.
        """
        again = self.is_init  # Then BaseModule warns, and changes nothing.
        super().init_weights()
        if not again:
            self.load_pretrained()

    def load_pretrained(self) -> None:
        """Load the checkpoint that `pretrained` names, if it names one.

        Raises:
            UserError: If the file is not there, or does not fit.
        """
        if self.pretrained:
            load_pretrained(self, self.pretrained, self.size, self.not_pretrained)

    @property
    def out_time_steps(self) -> int:
        """The number of time steps in the outputs: 1 if they are averaged."""
        return 1 if self.time_reduction else self.time_steps

    @property
    def unused_parts(self) -> tuple[str, ...]:
        """The parts that never run: the stages behind the last output."""
        indices = range(max(self.out_indices) + 1, len(self.stages))
        return tuple(f'{kind}.{i}' for kind in ('downsamplings', 'stages') for i in indices)

    def _build_stages(
        self, arch: dict, variant: dict, in_channels: int, norm_cfg: dict | None
    ) -> None:
        self.downsamplings, self.stages = nn.ModuleList(), nn.ModuleList()
        for i, (dim, depth, stride) in enumerate(
            zip(arch['dims'], arch['depths'], arch['strides'], strict=True)
        ):
            downsampling: nn.Module
            if i == 0:  # Sees the image itself: the only convolution without a neuron.
                stem = nn.Conv2d(in_channels, dim, 7, stride=stride, padding=3)
                downsampling = ConvNorm(stem, norm_cfg)
            elif stride is None:
                downsampling = nn.Identity()
            else:
                downsampling = spike_conv_norm(
                    arch['dims'][i - 1], dim, 3, stride=stride, bias=True, norm_cfg=norm_cfg
                )
                if variant['shortcut'] == 'sew':  # Its blocks leave counts of spikes.
                    take_entry_neuron(downsampling)
            self.downsamplings.append(downsampling)
            first, other = SHORTCUTS[variant['shortcut']]
            blocks = [first if stride else other] + [other] * (depth - 1)
            mixers = _conv_mixers if i < variant['conv_stages'] else _transformer_mixers
            self.stages.append(
                nn.Sequential(
                    *(block(*mixers(dim, arch['heads'], variant, norm_cfg)) for block in blocks)
                )
            )

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        try:
            return self._forward(x)
        except ValueError as error:
            explain_norm(error)
            raise

    def _forward(self, x: Tensor) -> tuple[Tensor, ...]:
        x = self._encode(x)
        outs = {}
        for i, stage in enumerate(self.stages):
            if i > 0:
                x = self.downsamplings[i](x)
            for block in stage.children():
                x = self._run(block, x)
            outs[i] = x
            if i == max(self.out_indices):
                break
        return tuple(
            self._reduce(adapter(outs[i]))
            for i, adapter in zip(self.out_indices, self.adapters, strict=True)
        )

    def _reduce(self, x: Tensor) -> Tensor:
        if self.time_reduction:
            return mean_over_time(x, self.time_steps).contiguous()
        return x if self.keep_layout else x.contiguous()

    def _encode(self, x: Tensor) -> Tensor:
        """Encode the input into ``[T*B, C, H, W]`` membrane potentials."""
        if x.dim() not in (4, 5) or x.shape[-3] != self.in_channels:
            raise UserError(
                f'the input has shape {tuple(x.shape)}, but it must be [B, C, H, W] or '
                f'[B, T, C, H, W] with C = {self.in_channels} channels, the in_channels of the '
                'backbone.'
            )
        check_pixels(x)
        if x.dim() == 4:
            # A still image is the same at every step: encode it once.
            return repeat_time(self.downsamplings[0](self._lay_out(x)), self.time_steps)
        if x.shape[1] != self.time_steps:
            raise UserError(
                f'the input is a sequence of {x.shape[1]} frames, but time_steps of the backbone '
                f'is {self.time_steps}: set it to the length of the sequences.'
            )
        return self.downsamplings[0](self._lay_out(fold_sequence(x)))

    def _lay_out(self, x: Tensor) -> Tensor:
        """Order the input as the weights are; all that follows keeps the order."""
        return x.contiguous(memory_format=self._memory_format(x.device))

    def _memory_format(self, device: torch.device) -> torch.memory_format:
        wanted = device.type == 'cpu' if self.channels_last is None else self.channels_last
        return torch.channels_last if wanted else torch.contiguous_format

    def _order_weights(self) -> None:
        """Order the weights of convolutions as their inputs: else every call rearranges them."""
        for weight in self.parameters():
            if weight.dim() == 4:
                weight.data = weight.data.contiguous(
                    memory_format=self._memory_format(weight.device)
                )

    def _apply(self, *args: Any, **kwargs: Any) -> 'MetaSpikeFormer':
        """Do what `to` asks for, and order the weights for their device."""
        super()._apply(*args, **kwargs)
        self._order_weights()
        return self

    def _run(self, block: nn.Module, x: Tensor) -> Tensor:
        if not (self.with_cp and self.training and torch.is_grad_enabled()):
            return block(x)
        return checkpoint(
            block,
            x,
            use_reentrant=False,
            context_fn=lambda: (no_saved_tensors(), bn_frozen_during_recompute(block)),
        )

    def _freeze(self) -> None:
        # What no output needs never runs; a gradient that never comes would stop DDP.
        for part in self.unused_parts:
            self.get_submodule(part).requires_grad_(False)
        for i in range(self.frozen_stages + 1):
            for module in (self.downsamplings[i], self.stages[i]):
                module.eval()
                module.requires_grad_(False)

    def train(self, mode: bool = True) -> 'MetaSpikeFormer':
        """Set the training mode, keeping frozen stages and, if so asked, norms in evaluation."""
        super().train(mode)
        self._freeze()
        if mode and self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self
