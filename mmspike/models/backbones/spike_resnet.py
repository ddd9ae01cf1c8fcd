"""Residual networks that spike: MS-ResNet adds membrane potentials, SEW-ResNet spikes."""

from importlib import import_module
from itertools import accumulate
from operator import mul
from typing import Any

from torch import Tensor, nn

from mmspike.errors import UserError
from mmspike.layers import make_spiking, take_entry_neuron
from mmspike.mixins import ModuleMixin
from mmspike.models.spiking_backbone import SpikingBackbone
from mmspike.neurons import build_neuron
from mmspike.registry import MODELS


def find_resnet() -> Any:
    """Find a stock ResNet: mmseg's, mmdet's or mmpretrain's, whose parts have the same names.

    That of mmseg takes whatever mmdet's does, and the dilations of its own configs.

    Raises:
        ImportError: If none of the three can be imported.
    """
    for library in ('mmseg', 'mmdet', 'mmpretrain'):
        try:
            return import_module(f'{library}.models').ResNet
        except (ImportError, AssertionError):  # mmseg asserts versions.
            continue
    raise ImportError('SpikeResNet needs mmseg, mmdet or mmpretrain.')


ResNet: Any = find_resnet()


class SEWShortcut(ModuleMixin):
    """Mixin before a block of a stock ResNet: a neuron behind its last norm, not before its first.

    :math:`S \\leftarrow S + \\mathrm{SN}(f(S))`, f without a neuron before its first weights. A
    `downsample` fires likewise, so that what is added are spikes.
    """

    downsample: nn.Sequential | None

    def move_neurons(self) -> None:
        """Put the first neuron of either path behind its last norm, once the block spikes."""
        self.neuron = take_entry_neuron(self)
        if self.downsample is not None:
            self.downsample.append(take_entry_neuron(self.downsample))

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        for i in range(1, 1 + sum(isinstance(child, nn.Conv2d) for child in self.children())):
            x = getattr(self, f'norm{i}')(getattr(self, f'conv{i}')(x))
        return identity + self.neuron(x)


@MODELS.register_module()
class SpikeResNet(SpikingBackbone, ResNet):
    """The ResNet of mmseg, mmdet or mmpretrain with a neuron before each convolution but the stem.

    Its parameters have the names of torchvision's and OpenMMLab's ResNet, so their ImageNet weights
    are a start (`pretrained`), though the network is another: activations stand before the
    convolutions, and none behind a sum.

    Args:
        depth: 18, 34, 50, 101 or 152.
        shortcut: ``'ms'`` adds membrane potentials (MS-ResNet, Hu et al., 2021); ``'sew'`` adds
            spikes to spikes (SEW-ResNet, Fang et al., NeurIPS 2021, with g = ADD): a stage's
            outputs are counts, at most one more a block than what enters it.
        kwargs: As of `mmspike.models.SpikingBackbone`, `frozen_stages` as of the stock ResNet (0
            is the stem alone), and as of that.

    Shape:
        - input: as of `mmspike.models.SpikingBackbone`
        - output: likewise, of strides 4, 8, 16 and 32

    Raises:
        UserError: If an argument is not as said above, or `deep_stem` is asked for.
    """

    ann_weights = (
        "an ordinary ResNet's, such as torchvision's as it is "
        '(https://download.pytorch.org/models/resnet18-f37072fd.pth)'
    )
    res_layers: list[str]
    strides: tuple[int, ...]
    norm1_name: str
    conv1: nn.Module
    norm1: nn.Module
    maxpool: nn.Module

    def __init__(self, depth: int, shortcut: str = 'ms', **kwargs: Any) -> None:
        if depth not in ResNet.arch_settings or shortcut not in ('ms', 'sew'):
            depths = ', '.join(map(str, ResNet.arch_settings))
            raise UserError(
                f'SpikeResNet has depth={depth!r} and shortcut={shortcut!r}, but depth must be one '
                f"of {depths} and shortcut 'ms' or 'sew'."
            )
        if kwargs.get('deep_stem'):
            raise UserError(
                'SpikeResNet has deep_stem=True, but its stem is the one convolution that sees '
                'the image; leave deep_stem out, and take weights of a ResNet, not of a ResNetV1c.'
            )
        if str(kwargs.get('pretrained')).startswith('torchvision://'):  # Its own in the model zoo.
            kwargs['init_cfg'] = {'type': 'Pretrained', 'checkpoint': kwargs.pop('pretrained')}
        self.shortcut = shortcut
        if shortcut == 'sew':
            block, depths = ResNet.arch_settings[depth]
            block = type(f'SEW{block.__name__}', (SEWShortcut, block), {})
            self.arch_settings = {depth: (block, depths)}
            kwargs.setdefault('zero_init_residual', False)  # Such blocks would be silent.
        super().__init__(depth=depth, **kwargs)

    def build_stages(self, in_channels: int, norm_cfg: dict | None) -> None:
        make_spiking(self, analog=('conv1',))
        blocks = [list(getattr(self, name)) for name in self.res_layers]
        if self.shortcut == 'sew':
            self.neuron = build_neuron()
            for block in sum(blocks, []):
                block.move_neurons()
        convs = ([m for m in b[-1].children() if isinstance(m, nn.Conv2d)] for b in blocks)
        self.stage_channels = tuple(last.out_channels for *_, last in convs)
        self.stage_strides = tuple(accumulate(self.strides, mul, initial=4))[1:]
        stem, *parts = self.frozen_parts
        self.stage_parts = (stem + parts[0], *parts[1:])

    @property
    def frozen_parts(self) -> tuple[tuple[str, ...], ...]:
        return (('conv1', self.norm1_name), *((name,) for name in self.res_layers))

    def encode(self, x: Tensor) -> Tensor:
        x = self.norm1(self.conv1(x))
        return self.maxpool(x) if self.shortcut == 'ms' else x

    def run_stage(self, index: int, x: Tensor) -> Tensor:
        if index == 0 and self.shortcut == 'sew':
            x = self.maxpool(self.neuron(x))
        for block in getattr(self, self.res_layers[index]):
            x = self.run_block(block, x)
        return x
