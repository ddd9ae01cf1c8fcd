"""A box head on spikes."""

from typing import Any

from mmdet.models.roi_heads.bbox_heads import Shared2FCBBoxHead

from mmspike.layers import make_spiking
from mmspike.registry import MODELS


@MODELS.register_module()
class SpikeShared2FCBBoxHead(Shared2FCBBoxHead):
    """mmdet's two-layer box head, a neuron before every layer, averaged over time at its end.

    Args:
        args: As of `mmdet.models.Shared2FCBBoxHead`.
        norm_cfg: Config of a norm behind each shared layer, where mmdet has none. It keeps the
            potentials near the threshold of the next neurons, which else start silent.
        kwargs: As of `mmdet.models.Shared2FCBBoxHead`.

    Shape:
        - input: ``[T*N, C, h, w]`` RoI features
        - output: class scores ``[N, num_classes + 1]`` and box deltas ``[N, 4*num_classes]``
    """

    init_cfg: list[dict]

    def __init__(self, *args: Any, norm_cfg: dict | None = None, **kwargs: Any) -> None:
        for predictor in ('cls_predictor_cfg', 'reg_predictor_cfg'):
            kwargs.setdefault(predictor, {'type': 'mmdet.Linear'})  # Found from every scope.
        super().__init__(*args, **kwargs)
        make_spiking(self, ('fc_cls', 'fc_reg'), norm_cfg)
        if kwargs.get('init_cfg') is None:
            # The stock list ends with a Xavier that takes all inside shared_fcs for linear layers,
            # norms too; here it goes by type, before what is set for the predictors.
            xavier = {'type': 'Xavier', 'distribution': 'uniform', 'layer': 'Linear'}
            self.init_cfg = [xavier, *self.init_cfg[:-1]]
