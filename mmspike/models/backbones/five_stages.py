"""Five stages with a convolution before each, as Meta-SpikeFormer and its successor have them."""

from typing import Any

from mmengine.model import BaseModule
from torch import Tensor, nn

from mmspike.layers import ConvNorm, check_norm, spike_conv_norm
from mmspike.models.spiking_backbone import SpikingBackbone

STAGES, DOWNSAMPLING = ('1a', '1b', '2', '3', '4'), 'Downsampling'


def locate_layer(name: str) -> tuple[str, str, str] | None:
    """Tell where the paper puts a layer of the backbone.

    Args:
        name: Its name in the backbone.

    Returns:
        Its stage, its block and its name in there; the convolution before the blocks of a stage is
        the stage's downsampling. None for adapters, which belong to no stage.
    """
    kind, _, rest = name.partition('.')
    if kind not in ('downsamplings', 'stages'):
        return None
    index, _, rest = rest.partition('.')
    if kind == 'downsamplings':
        return STAGES[int(index)], DOWNSAMPLING, rest
    block, _, rest = rest.partition('.')
    return STAGES[int(index)], f'Block {int(block) + 1}', rest


class FiveStages(SpikingBackbone, BaseModule):
    """Base class: convolutions, each followed by a stage of blocks that add to the potentials.

    A child implements `build_blocks`.

    Args:
        arch: A dict of `dims` and `depths`, one for each stage, and `strides`, None where a stage
            follows the one before it directly.
        kwargs: As of `mmspike.models.SpikingBackbone`.
    """

    # How tables of energy and heat maps name its layers.
    locate_layer = staticmethod(locate_layer)
    row_names = {f'downsamplings.{i}': 'Conv' for i in range(len(STAGES))}

    def __init__(self, arch: dict, **kwargs: Any) -> None:
        check_norm(kwargs.get('norm_cfg'))
        self.arch = arch
        super().__init__(**kwargs)

    def build_blocks(self, index: int, norm_cfg: dict | None) -> list[nn.Module]:
        """Build the blocks of a stage.

        Args:
            index: The stage, from 0.
            norm_cfg: Config of the norms.
        """
        raise NotImplementedError

    def build_stages(self, in_channels: int, norm_cfg: dict | None) -> None:
        """As of `SpikingBackbone`."""
        dims, strides = self.arch['dims'], self.arch['strides']
        self.downsamplings, self.stages = nn.ModuleList(), nn.ModuleList()
        for i, (dim, stride) in enumerate(zip(dims, strides, strict=True)):
            downsampling: nn.Module
            if i == 0:  # Sees the image itself: the only convolution without a neuron.
                stem = nn.Conv2d(in_channels, dim, 7, stride=stride, padding=3)
                downsampling = ConvNorm(stem, norm_cfg)
            elif stride is None:
                downsampling = nn.Identity()
            else:
                downsampling = spike_conv_norm(
                    dims[i - 1], dim, 3, stride=stride, bias=True, norm_cfg=norm_cfg
                )
            self.downsamplings.append(downsampling)
            self.stages.append(nn.Sequential(*self.build_blocks(i, norm_cfg)))
        self.stage_channels = tuple(dims)
        self.stage_strides = _multiply_up(strides)
        self.stage_parts = tuple((f'downsamplings.{i}', f'stages.{i}') for i in range(len(dims)))

    def encode(self, x: Tensor) -> Tensor:
        """As of `SpikingBackbone`."""
        return self.downsamplings[0](x)

    def run_stage(self, index: int, x: Tensor) -> Tensor:
        """As of `SpikingBackbone`."""
        if index > 0:
            x = self.downsamplings[index](x)
        for block in self.stages[index].children():
            x = self.run_block(block, x)
        return x


def _multiply_up(strides: tuple[int | None, ...]) -> tuple[int, ...]:
    """Multiply the strides of the stages up to those of their outputs."""
    outputs, total = [], 1
    for stride in strides:
        total *= stride or 1
        outputs.append(total)
    return tuple(outputs)
