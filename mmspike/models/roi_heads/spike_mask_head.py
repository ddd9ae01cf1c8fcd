"""A mask head on spikes."""

from mmdet.models.roi_heads.mask_heads import FCNMaskHead
from torch import Tensor, nn

from mmspike.layers import SpikeConvTranspose2d
from mmspike.neurons import mean_over_time
from mmspike.registry import MODELS

CONV = {'type': 'mmspike.SpikeConv2d'}


@MODELS.register_module()
class SpikeFCNMaskHead(FCNMaskHead):
    """mmdet's mask head, a neuron before every layer, averaged over time at its end.

    Args: as of `mmdet.models.FCNMaskHead`, upsampling by a transposed convolution.

    Shape:
        - input: ``[T*N, C, h, w]`` RoI features
        - output: mask logits ``[N, num_classes, 2h, 2w]``
    """

    time_steps: int | None = None

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, conv_cfg=CONV, predictor_cfg=CONV, **kwargs)
        # The next layer's neuron is the non-linearity.
        self.relu = nn.Identity()
        for conv in self.convs:
            conv.with_activation = False
        stock = self.upsample
        self.upsample = SpikeConvTranspose2d(
            stock.in_channels, stock.out_channels, stock.kernel_size, stride=stock.stride
        )

    def forward(self, x: Tensor) -> Tensor:
        return mean_over_time(super().forward(x), self.time_steps)
