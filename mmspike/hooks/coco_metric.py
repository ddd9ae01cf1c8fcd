"""COCO's metric, for annotations that its evaluation would read as something else."""

from typing import Any

from mmdet.evaluation import CocoMetric as StockCocoMetric

from mmspike.checks.evaluators import prepare_coco_metric
from mmspike.registry import METRICS


@METRICS.register_module()
class CocoMetric(StockCocoMetric):
    """Compute the metric of mmdet's `CocoMetric`, after `prepare_coco_metric`.

    The arguments are those of `mmdet.evaluation.CocoMetric`.

    Raises:
        UserError: If an argument or an annotation cannot be evaluated.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        prepare_coco_metric(self)
