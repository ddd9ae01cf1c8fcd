"""A region proposal head on spikes."""

from typing import Any

from mmdet.models.dense_heads import RPNHead
from torch import Tensor

from mmspike.layers import make_spiking
from mmspike.registry import MODELS


@MODELS.register_module()
class SpikeRPNHead(RPNHead):
    """mmdet's RPN head with a neuron before every convolution, averaged over time at its end.

    Args:
        args: As of `mmdet.models.RPNHead`.
        norm_cfg: Config of a norm behind the convolutions before the predictors, where mmdet has
            none. It keeps the potentials near the threshold of the next neurons, which else start
            silent.
        kwargs: As of `mmdet.models.RPNHead`.

    Shape:
        - input: a tuple of ``[T*B, C, H_i, W_i]``
        - output: scores ``[B, A, H_i, W_i]`` and box deltas ``[B, 4*A, H_i, W_i]`` of each level,
          A anchors a position
    """

    def __init__(self, *args: Any, norm_cfg: dict | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        make_spiking(self, ('rpn_cls', 'rpn_reg'), norm_cfg)

    def forward_single(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.rpn_conv(x)  # The stock head has a ReLU here.
        return self.rpn_cls(x), self.rpn_reg(x)
