"""RepConv: three convolutions that one 3x3 convolution can replace after training."""

import torch
import torch.nn.functional as F
from mmcv.cnn import build_norm_layer
from torch import Tensor, nn

from mmspike.neurons.compact import compactly, derive, share
from mmspike.neurons.lif.batch_norm import compact_norm

from .conv_bn import NORM
from .spike_conv import convolve_again


class NormAndPad(nn.Module):
    """Normalize, then pad by one pixel with what the norm makes of zero.

    Padding with that value, and not with 0, is as if the input had been padded with zeros: only so
    the three convolutions of RepConv can be merged into one, borders included. As in the released
    models the value comes from the running statistics and carries no gradient, so the norm must
    keep them (BN or SyncBN).

    Shape:
        - input: ``[T*B, C, H, W]``
        - output: ``[T*B, C, H + 2, W + 2]``
    """

    def __init__(self, channels: int, norm_cfg: dict | None = None) -> None:
        super().__init__()
        self.norm = build_norm_layer(norm_cfg or NORM, channels)[1]

    def border(self) -> Tensor:
        """What the norm makes of a zero, ``[C]``."""
        norm = self.norm
        scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        return (norm.bias - norm.running_mean * scale).detach()

    def forward(self, x: Tensor) -> Tensor:
        def pad(x: Tensor) -> Tensor:
            frame = F.pad(x.new_zeros(1, *x.shape[1:]), (1, 1, 1, 1), value=1)
            return F.pad(x, (1, 1, 1, 1)).add_(frame * border)

        x = compact_norm(x, self.norm(x))
        border = self.border().to(x.dtype).view(1, -1, 1, 1)
        return derive(pad, x)


class RepConv(nn.Module):
    """Pointwise, depthwise 3x3, pointwise and norm, then one more norm.

    No neuron stands between them: a chip runs them as one dense 3x3 convolution.

    Shape:
        - input, output: ``[T*B, C, H, W]``
    """

    bare = ('pointwise1', 'depthwise', 'pointwise2')
    unmerged = True

    def __init__(self, channels: int, norm_cfg: dict | None = None) -> None:
        super().__init__()
        norm_cfg = norm_cfg or NORM
        self.pointwise1 = nn.Conv2d(channels, channels, 1, bias=False)
        self.norm1 = NormAndPad(channels, norm_cfg)
        self.depthwise = nn.Conv2d(channels, channels, 3, groups=channels, bias=False)
        self.pointwise2 = nn.Conv2d(channels, channels, 1, bias=False)
        self.norm2 = build_norm_layer(norm_cfg, channels)[1]
        self.norm3 = build_norm_layer(norm_cfg, channels)[1]

    def forward(self, x: Tensor) -> Tensor:
        with compactly(x):
            x = self.pointwise1(x)
        padded = share(self.norm1(x))
        with compactly(padded):
            x = self.depthwise(padded)
        x = convolve_again(self.depthwise, padded, x)
        with compactly(x):
            x = self.pointwise2(x)
        x = compact_norm(x, self.norm2(x))
        with compactly(x):
            out = self.norm3(x)
        return compact_norm(x, out)
