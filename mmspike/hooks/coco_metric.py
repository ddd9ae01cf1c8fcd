"""COCO's metric, for annotations that its evaluation would read as something else."""

from contextlib import AbstractContextManager
from importlib.util import find_spec
from typing import Any
from unittest.mock import patch

import numpy as np
from mmdet.datasets.api_wrappers import COCO
from mmdet.evaluation import CocoMetric as StockCocoMetric
from pycocotools.cocoeval import COCOeval

from mmspike.checks.evaluators import match_metric, prepare_coco_metric
from mmspike.datasets.annotation_mends import merge_copies
from mmspike.registry import METRICS

FASTER = 'faster_coco_eval'


class _MergedCOCO(COCO):
    """An annotation file without copies, indexed by the ids that its annotations then have."""

    def createIndex(self) -> None:  # noqa: N802
        if self.dataset.get('annotations'):
            # Later calls find nothing to merge.
            self.merged = getattr(self, 'merged', {}) | merge_copies(self.dataset)
        super().createIndex()


def _looked_up(name: str, kind: type) -> AbstractContextManager:
    """Exchange a class that the stock metric looks up in its file."""
    return patch(f'{StockCocoMetric.__module__}.{name}', kind)


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
        with _looked_up('COCO', _MergedCOCO):
            super().__init__(*args, **kwargs)
        prepare_coco_metric(self)

    def compute_metrics(self, results: list) -> dict[str, float]:
        if self._coco_api is not None:
            classes = self.dataset_meta['classes']
            match_metric(self, classes)
            # COCO's evaluation sorts the ids, and the scores of each class follow its order.
            ids = self._coco_api.get_cat_ids(cat_names=classes)
            self.cat_ids = sorted(ids)
            merged = getattr(self._coco_api, 'merged', {})
            place = np.array([self.cat_ids.index(id) for id in ids])
            results = [
                (truth, {**found, 'labels': place[found['labels']]})
                for truth, found in results
                if found['img_id'] not in merged
            ]
        if find_spec(FASTER) is None:
            return super().compute_metrics(results)
        from faster_coco_eval import COCOeval_faster

        class Evaluation(COCOeval_faster):
            summarize = COCOeval.summarize  # Its own mAP counts more than 100 objects.

        with _looked_up('COCOeval', Evaluation):
            return super().compute_metrics(results)
