"""COCO's metric, for annotations that its evaluation would read as something else."""

from importlib.util import find_spec
from typing import Any
from unittest.mock import patch

import numpy as np
from mmdet.evaluation import CocoMetric as StockCocoMetric
from pycocotools.cocoeval import COCOeval

from mmspike.checks.evaluators import match_metric, prepare_coco_metric
from mmspike.registry import METRICS

FASTER = 'faster_coco_eval'


@METRICS.register_module()
class CocoMetric(StockCocoMetric):
    """Compute the metric of mmdet's `CocoMetric`, after `prepare_coco_metric`.

    Categories are matched with the classes of the dataset by name, in whatever order they stand.
    Where faster-coco-eval is installed, its evaluation takes the place of pycocotools': the figures
    are the same. The arguments are those of `mmdet.evaluation.CocoMetric`.

    Raises:
        UserError: If an argument or an annotation cannot be evaluated.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        prepare_coco_metric(self)

    def compute_metrics(self, results: list) -> dict[str, float]:
        if self._coco_api is not None:
            classes = self.dataset_meta['classes']
            match_metric(self, classes)
            # COCO's evaluation sorts the ids, and the scores of each class follow its order.
            ids = self._coco_api.get_cat_ids(cat_names=classes)
            self.cat_ids = sorted(ids)
            place = np.array([self.cat_ids.index(id) for id in ids])
            results = [
                (truth, {**found, 'labels': place[found['labels']]})
                for truth, found in results
                if found['img_id'] not in self.merged_pictures
            ]
        if find_spec(FASTER) is None:
            return super().compute_metrics(results)
        from faster_coco_eval import COCOeval_faster

        class Evaluation(COCOeval_faster):
            summarize = COCOeval.summarize  # Its own mAP counts more than 100 objects.

        # The stock metric names its evaluation in its file.
        with patch(f'{StockCocoMetric.__module__}.COCOeval', Evaluation):
            return super().compute_metrics(results)
