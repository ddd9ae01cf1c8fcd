"""A region proposal head on spikes."""

from typing import Any

from mmcv.cnn import ConvModule
from mmdet.models.dense_heads import RPNHead
from torch import Tensor, nn

from mmspike.layers import SpikeReadoutConv2d
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
        self.norm_cfg = norm_cfg
        super().__init__(*args, **kwargs)

    def _init_layers(self) -> None:
        anchors, box_dim = self.num_base_priors, self.bbox_coder.encode_size
        convs = [
            ConvModule(
                self.feat_channels if i else self.in_channels,
                self.feat_channels,
                3,
                padding=1,
                conv_cfg={'type': 'mmspike.SpikeConv2d'},
                norm_cfg=self.norm_cfg,
                act_cfg=None,
            )
            for i in range(self.num_convs)
        ]
        self.rpn_conv = nn.Sequential(*convs) if len(convs) > 1 else convs[0]
        self.rpn_cls = SpikeReadoutConv2d(self.feat_channels, anchors * self.cls_out_channels, 1)
        self.rpn_reg = SpikeReadoutConv2d(self.feat_channels, anchors * box_dim, 1)

    def forward_single(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.rpn_conv(x)  # The stock head has a ReLU here.
        return self.rpn_cls(x), self.rpn_reg(x)
