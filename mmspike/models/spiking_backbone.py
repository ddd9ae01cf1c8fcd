"""What every spiking backbone has around its stages: encoding, time, memory order, its start."""

import inspect
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any, ClassVar

import torch
from mmengine.utils.dl_utils.parrots_wrapper import _BatchNorm
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mmspike.errors import UserError
from mmspike.layers import MetaBlock, spike_conv_norm
from mmspike.mixins import ModuleMixin
from mmspike.models.consistency import check_outputs
from mmspike.models.inputs import check_pixels, explain_norm
from mmspike.neurons import (
    build_neuron,
    check_time_steps,
    default_neuron,
    fold_sequence,
    mean_over_time,
    repeat_time,
    set_time_steps,
)
from mmspike.neurons.compact import derive

from .pretrained import choose_start, load_pretrained
from .released import ReleasedNames


class SpikingBackbone(ModuleMixin):
    """Mixin before a stock backbone, or before `mmengine.model.BaseModule`: it spikes over time.

    A child fills three holes. `build_stages` builds the stages, or makes those of the stock
    backbone spike, and says what they are; `encode` and `run_stage` run them. For a stock
    ResNet::

        class SpikeResNet(SpikingBackbone, ResNet):
            def build_stages(self, in_channels, norm_cfg):
                make_spiking(self, analog=('conv1',))
                self.stage_channels, self.stage_strides = (64, 128, 256, 512), (4, 8, 16, 32)
                self.stage_parts = (('conv1', 'bn1', 'layer1'), ('layer2',), ...)

            def encode(self, x):
                return self.maxpool(self.norm1(self.conv1(x)))

            def run_stage(self, index, x):
                for block in getattr(self, self.res_layers[index]):
                    x = self.run_block(block, x)
                return x

    Args:
        args: As of the stock backbone.
        time_steps: The number of time steps T, the only place where it is written.
        in_channels: Channels of the input.
        out_indices: Which stages' outputs to return, in this order, counted from 0; None returns
            all. Stages behind the last one asked for keep their weights and are not run.
        out_channels: Channels of the outputs, for a neck that was made for another backbone: a
            neuron, a pointwise convolution and a norm bring each output to its number. None leaves
            the outputs as they are.
        out_strides: Strides of the outputs, each the stage's own or twice that: then its membrane
            potentials are max-pooled, a comparison of analog values without parameters. So a stage
            of stride 16 becomes the level of stride 32 of a pyramid. At T = 1 the neuron behind
            fires exactly where any of the pooled ones would; at T > 1 it may differ, as each of
            those would reset by itself. None leaves the outputs as they are.
        time_reduction: None returns every time step; ``'mean'`` averages the outputs over T, so
            that whatever follows may be an ordinary network.
        neuron: Config of the neurons, None is `default_neuron`; ``dict(type='ReLU')`` gives the ANN
            twin.
        norm_cfg: Config of the norms.
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
        kwargs: As of the stock backbone.

    Attributes:
        stage_channels: Channels of each stage's output; `build_stages` sets it.
        stage_strides: Strides of each stage's output, likewise.
        stage_parts: Names of the parts that each stage consists of, likewise; what encodes the
            image belongs to the first.

    Shape:
        - input: a still image ``[B, C, H, W]``, shown at every step, or a sequence
          ``[B, T, C, H, W]``
        - output: a tuple of ``[T*B, C_i, H_i, W_i]``, time-major, or ``[B, C_i, H_i, W_i]`` with
          ``time_reduction='mean'``; H_i is ``ceil(H / out_strides[i])``

    Raises:
        UserError: If an argument or the input's shape is not as said above, a pixel is no finite
            number, or a norm in training gets a single value.
    """

    # The neuron where neither the backbone's config nor a model's names one; None is the released
    # LIF of Meta-SpikeFormer.
    default_neuron: ClassVar[dict | None] = None
    # The names in the authors' files, if some are public.
    released: ClassVar[ReleasedNames | None] = None
    # Where weights of an ordinary network are that fit, if there are some.
    ann_weights: ClassVar[str | None] = None
    # Which size of the published network it is; it names the config that pretrains it.
    size: str | None = None
    # Parts that are new in every model, and never taken from a checkpoint of another.
    not_pretrained: tuple[str, ...] = ('adapters.',)
    # Whether what follows takes features in any order of memory; spiking models say so.
    keep_layout = False

    stage_channels: tuple[int, ...]
    stage_strides: tuple[int, ...]
    stage_parts: tuple[tuple[str, ...], ...]

    def __init__(
        self,
        *args: Any,
        time_steps: int = 1,
        in_channels: int = 3,
        out_indices: Sequence[int] | None = None,
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
        **kwargs: Any,
    ) -> None:
        pretrained = choose_start(type(self).__name__, pretrained, init_cfg)
        if time_reduction not in (None, 'mean'):
            raise UserError(f"time_reduction is {time_reduction!r}, but it must be None or 'mean'.")
        time_steps = check_time_steps(time_steps)
        stock = dict(in_channels=in_channels, norm_cfg=norm_cfg, init_cfg=init_cfg)
        taken = _arguments_behind(SpikingBackbone, type(self))
        kwargs.update({k: v for k, v in stock.items() if k in taken and v is not None})
        with default_neuron(neuron or self.default_neuron):
            super().__init__(*args, **kwargs)
            self.pretrained = pretrained
            self.build_stages(in_channels, norm_cfg)
            kind = type(build_neuron())
        if not any(type(module) is kind for module in self.modules()):
            raise UserError(
                f'{type(self).__name__} has no {kind.__name__}, the neuron of its config: let its '
                "build_stages call make_spiking, or set act_cfg=dict(type='mmspike.Neuron') in a "
                'stock backbone that takes it (docs/own_backbone.md).'
            )
        last = len(self.stage_channels) - 1
        indices = range(last + 1) if out_indices is None else out_indices
        if not indices or any(i not in range(last + 1) for i in indices):
            raise UserError(
                f'out_indices is {out_indices!r}, but it must name outputs from 0 to {last}.'
            )
        if frozen_stages not in range(-1, len(self.frozen_parts)):
            raise UserError(
                f'frozen_stages is {frozen_stages!r}, but it must be from -1 (none) to '
                f'{len(self.frozen_parts) - 1}.'
            )
        self.time_steps = time_steps
        self.in_channels = in_channels
        self.out_indices = tuple(indices)
        self.time_reduction = time_reduction
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval
        self.with_cp = with_cp
        self.channels_last = channels_last
        channels = tuple(self.stage_channels[i] for i in self.out_indices)
        strides = tuple(self.stage_strides[i] for i in self.out_indices)
        self.out_channels = check_outputs('out_channels', out_channels, channels, range(1, 1 << 20))
        self.out_strides = check_outputs('out_strides', out_strides, strides)
        with default_neuron(neuron or self.default_neuron):
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
        set_time_steps(self, time_steps)
        self._freeze()
        self._order_weights()

    def build_stages(self, in_channels: int, norm_cfg: dict | None) -> None:
        """Build the stages, or make those of the stock backbone spike.

        It sets `stage_channels`, `stage_strides` and `stage_parts`. What it builds without a
        neuron config gets the backbone's.

        Args:
            in_channels: Channels of the input.
            norm_cfg: Config of the norms; None is the default.
        """
        raise NotImplementedError

    def encode(self, x: Tensor) -> Tensor:
        """Encode images ``[N, C, H, W]`` into membrane potentials: all before the first neuron."""
        raise NotImplementedError

    def run_stage(self, index: int, x: Tensor) -> Tensor:
        """Run a stage on ``[T*B, C, H, W]``, its blocks by `run_block`; `encode` ran before."""
        raise NotImplementedError

    def run_block(self, block: nn.Module, x: Tensor) -> Tensor:
        """Run a block of a stage; with `with_cp` it is computed again in the backward pass.

        The last one is not: the backward pass begins with it.
        """
        if not (self.with_cp and self.training and torch.is_grad_enabled()):
            return block(x)
        last_stage = self.get_submodule(self.stage_parts[max(self.out_indices)][-1])
        if block is list(last_stage.children())[-1]:
            return block(x)
        return block(x, recompute) if isinstance(block, MetaBlock) else recompute(block, x)

    @property
    def frozen_parts(self) -> tuple[tuple[str, ...], ...]:
        """Names of the parts that each number of `frozen_stages` adds to what is frozen."""
        return self.stage_parts

    @property
    def out_time_steps(self) -> int:
        """The number of time steps in the outputs: 1 if they are averaged."""
        return 1 if self.time_reduction else self.time_steps

    @property
    def unused_parts(self) -> tuple[str, ...]:
        """The parts that never run: the stages behind the last output."""
        behind = self.stage_parts[max(self.out_indices) + 1 :]
        return tuple(part for parts in behind for part in parts)

    def init_weights(self) -> None:
        """Initialize the weights, those of `pretrained` last.

        Raises:
            UserError: If the file is not there, or does not fit.
        """
        again = self.is_init  # Then BaseModule warns, and changes nothing.
        super().init_weights()  # type: ignore[misc]  # BaseModule's.
        if not again:
            self.load_pretrained()

    def load_pretrained(self) -> None:
        """Load the checkpoint that `pretrained` names, if it names one.

        Raises:
            UserError: If the file is not there, or does not fit.
        """
        if self.pretrained:
            load_pretrained(self, self.pretrained)

    def explain_misfit(self, names: Collection[str]) -> str | None:
        """Say which option of this backbone a file of its own kind was trained without, or with.

        Args:
            names: The names of the file's weights, in the backbone.

        Returns:
            What follows the file's name in a sentence, or None.
        """
        return None

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        try:
            return self._forward(x)
        except ValueError as error:
            explain_norm(error)
            raise

    def _forward(self, x: Tensor) -> tuple[Tensor, ...]:
        x = self._encode(x)
        outs = {}
        for i in range(max(self.out_indices) + 1):
            x = outs[i] = self.run_stage(i, x)
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
            encoded = self.encode(self._lay_out(x))
            return derive(partial(repeat_time, time_steps=self.time_steps), encoded)
        if x.shape[1] != self.time_steps:
            raise UserError(
                f'the input is a sequence of {x.shape[1]} frames, but time_steps of the backbone '
                f'is {self.time_steps}: set it to the length of the sequences.'
            )
        return self.encode(self._lay_out(fold_sequence(x)))

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

    def _apply(self, *args: Any, **kwargs: Any) -> Any:
        """Do what `to` asks for, and order the weights for their device."""
        super()._apply(*args, **kwargs)
        self._order_weights()
        return self

    def _freeze(self) -> None:
        # What no output needs never runs; a gradient that never comes would stop DDP.
        for part in self.unused_parts:
            self.get_submodule(part).requires_grad_(False)
        for parts in self.frozen_parts[: self.frozen_stages + 1]:
            for part in parts:
                module = self.get_submodule(part)
                module.eval()
                module.requires_grad_(False)

    def train(self, mode: bool = True) -> Any:
        """Set the training mode, keeping frozen stages and, if so asked, norms in evaluation."""
        super().train(mode)
        self._freeze()
        if mode and self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self


def _arguments_behind(mixin: type, cls: type) -> set[str]:
    """Name the arguments that the classes behind a mixin take, handed on by ``**kwargs`` or not."""
    names: set[str] = set()
    for stock in cls.__mro__[cls.__mro__.index(mixin) + 1 :]:
        parameters = inspect.signature(stock.__init__).parameters  # type: ignore[misc]
        names.update(parameters)
        if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            break
    return names


def recompute(module: nn.Module, x: Tensor) -> Tensor:
    """Run a module that is computed again in the backward pass, and keeps nothing until then."""

    def run(x: Tensor) -> Tensor:
        with bn_frozen(module) if torch.is_grad_enabled() else nullcontext():
            return module(x)

    # What the reentrant form computes again may keep spikes in bits. It needs an input with a
    # gradient.
    x = x if x.requires_grad else x.detach().requires_grad_()
    return checkpoint(run, x, use_reentrant=True)


@contextmanager
def bn_frozen(module: nn.Module) -> Iterator[None]:
    """Keep running statistics and counts of `module`'s norms as they are in training."""
    norms = [m for m in module.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True
