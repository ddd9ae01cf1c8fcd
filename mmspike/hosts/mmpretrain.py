"""What is mmpretrain's own: one class a picture or sequence."""

from collections.abc import Callable
from typing import Any

import torch
from mmengine.config import Config

from .library import Library


class MMPretrain(Library):
    """mmpretrain: classification."""

    name = 'mmpretrain'
    sample = ('mmpretrain.structures', 'DataSample')
    hook = 'VisualizationHook'
    visualizer = 'UniversalVisualizer'
    class_metric = 'Accuracy'
    tta_model = dict(type='AverageClsScoreTTA')
    usual_size = 224

    def add_truth(self, sample: Any, height: int, width: int) -> None:
        sample.set_gt_label(0)

    def build_inferencer(self, config: Config, device: str) -> Any:
        from mmpretrain import ImageClassificationInferencer

        return ImageClassificationInferencer(config, pretrained=False, device=device)

    def _draw(self, hook: dict, visualizer: dict, folder: str | None) -> None:
        hook.update(enable=True, interval=1, out_dir=folder)

    def _score(self, metric: Any, stock: Callable, scores: dict, results: list) -> dict:
        truth = torch.cat([result['gt_label'] for result in results])
        found = torch.stack([result['pred_score'] for result in results]).argmax(dim=1)
        for label, name in enumerate(metric.dataset_meta['classes']):
            right = (found == label)[truth == label]
            scores[name] = dict(pictures=len(right), accuracy=100 * float(right.float().mean()))
        return stock(results)
