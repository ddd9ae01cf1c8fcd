"""Which layers a model has, as a chip would run them, and how many operations each takes.

The rules are those of the paper's energy estimate (Yao et al., ICLR 2024, table 6 and appendix B):
what no neuron separates is one layer. RepConv is a dense 3x3 convolution, SepConv's depthwise and
second pointwise convolution are a dense 7x7 from 2C to C, and SDSA's products take N D^2 / heads
operations for each of Q, K and V (N D for SDSA-1 and 2, the latter without K).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from torch import nn

from mmspike.analysis.backbone import LayerNames, find_backbone, stage_name
from mmspike.layers import (
    SDSA3,
    ChannelConv,
    ChannelMLP,
    ConvNorm,
    RepConv,
    SepConv,
)
from mmspike.layers.attention import SDSA1, SDSA2

WEIGHT_LAYERS = (nn.modules.conv._ConvNd, nn.Linear)
# The paper's numbers of the RepConvs that make the operands of SDSA.
REP_CONVS = {'query': '1', 'key': '2', 'value': '3'}
Shape = Sequence[int]


@dataclass(frozen=True)
class Layer:
    """What counts as one layer.

    Args:
        name: Its module's path.
        part: ``'backbone'``, ``'neck'`` or ``'head'``.
        stage: The backbone's stage, else empty.
        block: The stage's block, else empty.
        operator: What the paper calls it, or its path within neck and head.
        source: The module whose output is what the weights see, or whose input if `sees_input`.
        target: The module that runs once a call of the layer, and gives the shapes.
        macs: Multiply-accumulates of one sample, from the shapes of `target`'s input and output
            without their batch.
        sees_input: Look at the source's input.
        twin_macs: Those of the ANN twin, if they differ: it gains by running separable convolutions
            as they are, and multiplies twice for the three operands of SDSA.
    """

    name: str
    part: str
    stage: str
    block: str
    operator: str
    source: nn.Module
    target: nn.Module
    macs: Callable[[Shape, Shape], int]
    sees_input: bool = False
    twin_macs: Callable[[Shape, Shape], float] | None = None

    @property
    def key(self) -> tuple[str, str, str]:
        """How a table of firing rates names it."""
        return self.stage or self.part, self.block, self.operator


def weight_macs(layer: Any, inputs: Shape, outputs: Shape) -> int:
    """Count the multiply-accumulates of a convolution or linear layer as it is.

    Args:
        layer: The layer.
        inputs: Shape of one sample at its input, such as ``[C, H, W]``.
        outputs: Shape of one sample at its output.
    """
    if isinstance(layer, nn.Linear):
        return prod(outputs) * layer.in_features
    # A transposed convolution spreads each input, the others gather for each output.
    positions = inputs if layer.transposed else outputs
    partners = layer.out_channels if layer.transposed else layer.in_channels
    return prod(positions) * partners // layer.groups * prod(layer.kernel_size)


def _dense(kernel: int, in_channels: int) -> Callable[[Shape, Shape], int]:
    """Count those of a dense convolution with the output's size."""
    return lambda _, outputs: kernel**2 * in_channels * prod(outputs)


def _apart(*convs: nn.Conv2d) -> Callable[[Shape, Shape], int]:
    """Count those of convolutions one after the other, all at the output's size."""

    def count(_: Shape, outputs: Shape) -> int:
        positions = tuple(outputs[1:])
        return sum(weight_macs(conv, (), (conv.out_channels, *positions)) for conv in convs)

    return count


def find_layers(model: nn.Module) -> list[Layer]:
    """List the layers of a model in the order of its modules.

    Args:
        model: A model with a backbone made of stages, or such a backbone.

    Raises:
        UserError: If there is no such backbone.
    """
    names = LayerNames(model)
    path, backbone = find_backbone(model)
    count = len(backbone.stages)

    def label(name: str, operator: str) -> dict:
        """Name a layer; `operator` is what the paper calls it, for layers of the stages."""
        part = 'backbone'
        if not name.startswith(names.prefix):
            part = 'neck' if name.startswith('neck.') else 'head'
        stage = names.stage(name) if part == 'backbone' else None
        if stage is None:
            return dict(name=name, part=part, stage='', block='', operator=name)
        inside = names.in_block(name)
        block = f'Block {int(name.removeprefix(names.prefix).split(".")[2]) + 1}' if inside else ''
        return dict(
            name=name,
            part=part,
            stage=f'Stage {stage_name(stage, count)}',
            block=block or 'Downsampling',
            operator=operator if inside else 'Conv',
        )

    layers = list(_walk(path, backbone, label))
    for name, child in model.named_children():
        if model is not backbone and child is not backbone:
            layers += _walk(name, child, label)
    return layers


def _walk(name: str, module: nn.Module, label: Callable) -> Iterator[Layer]:
    if isinstance(module, SDSA3):
        yield from _attention(name, module, label)
    elif isinstance(module, SepConv):
        first = module.pointwise1.conv
        yield _weight_layer(f'{name}.pointwise1.conv', first, label, 'SepConv PWConv1')
        depthwise = module.depthwise
        yield Layer(
            **label(f'{name}.depthwise', 'SepConv DWConv&PWConv2'),
            source=depthwise.neuron,
            target=module.norm,
            macs=_dense(depthwise.kernel_size[0], depthwise.in_channels),
            twin_macs=_apart(depthwise, module.pointwise2),
        )
    elif isinstance(module, (ChannelConv, ChannelMLP)):
        kind, layer = ('Conv', 'Conv') if isinstance(module, ChannelConv) else ('MLP', 'Linear')
        for i, conv_norm in enumerate(module):
            operator = f'Channel{kind} {layer}{i + 1}'
            yield _weight_layer(
                f'{name}.{i}.conv', conv_norm.get_submodule('conv'), label, operator
            )
    elif isinstance(module, RepConv):
        yield _projection(name, module, label, 'RepConv', 1)
    elif isinstance(module, WEIGHT_LAYERS):
        yield _weight_layer(name, module, label, name.rpartition('.')[2])
    else:
        for child, inner in module.named_children():
            yield from _walk(f'{name}.{child}' if name else child, inner, label)


def _weight_layer(name: str, module: Any, label: Callable, operator: str) -> Layer:
    spikes = hasattr(module, 'neuron')
    return Layer(
        **label(name, operator),
        source=module.neuron if spikes else module,
        target=module,
        macs=lambda inputs, outputs: weight_macs(module, inputs, outputs),
        sees_input=not spikes,
    )


def _projection(name: str, module: Any, label: Callable, what: str, times: int) -> Layer:
    """Count a RepConv, or the linear layer in its place, `times` times: all see the same spikes."""
    if isinstance(module, RepConv):
        one = _dense(3, module.pointwise1.in_channels)
        twin = _apart(module.pointwise1, module.depthwise, module.pointwise2)
    else:
        one = twin = _dense(1, module.conv.in_channels)
    return Layer(
        **label(name, what),
        source=module,
        target=module,
        macs=lambda inputs, outputs: times * one(inputs, outputs),
        twin_macs=lambda inputs, outputs: times * twin(inputs, outputs),
        sees_input=True,
    )


def _attention(name: str, module: SDSA3, label: Callable) -> Iterator[Layer]:
    kind = 'Linear' if isinstance(module.query_conv, ConvNorm) else 'RepConv'
    count = len(module.operands)
    numbers = '/'.join(REP_CONVS[operand] for operand in module.operands)
    yield _projection(
        f'{name}.query_conv', module.query_conv, label, f'SDSA {kind}-{numbers}', count
    )
    heads = module.num_heads

    def product(_: Shape, outputs: Shape) -> int:
        channels, *positions = outputs
        if isinstance(module, (SDSA1, SDSA2)):
            return channels * prod(positions)
        return channels**2 // heads * prod(positions)

    for operand in module.operands:
        neuron = getattr(module, f'{operand}_neuron')
        yield Layer(
            **label(f'{name}.{operand}_neuron', f'SDSA {operand[0].upper()}'),
            source=neuron,
            target=neuron,
            macs=product,
            twin_macs=lambda inputs, outputs: product(inputs, outputs) * 2 / count,
        )
    kind = 'Linear' if isinstance(module.proj, ConvNorm) else 'RepConv'
    yield _projection(f'{name}.proj', module.proj, label, f'SDSA {kind}-4', 1)
