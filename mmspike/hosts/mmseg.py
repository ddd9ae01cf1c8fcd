"""What is mmseg's own: label maps."""

from collections.abc import Callable
from typing import Any

import torch
from mmengine.config import Config
from mmengine.runner import Runner
from mmengine.structures import PixelData

from .library import Library, build_without_weights


class MMSeg(Library):
    """mmseg: semantic segmentation."""

    name = 'mmseg'
    sample = ('mmseg.structures', 'SegDataSample')
    hook = 'SegVisualizationHook'
    visualizer = 'SegLocalVisualizer'
    class_metric = 'IoUMetric'
    # Label maps are flipped back themselves, so the truth must not be flipped at all.
    behind_flips = 'Annotation'

    def add_truth(self, sample: Any, height: int, width: int) -> None:
        labels = torch.zeros(1, height, width, dtype=torch.long)
        labels[:, :, width // 2 :] = 1
        sample.gt_sem_seg = PixelData(data=labels)

    def build_inferencer(self, config: Config, device: str) -> Any:
        from mmseg.apis import MMSegInferencer

        return build_without_weights(MMSegInferencer, config, device, self.name)

    def _draw(self, hook: dict, visualizer: dict, folder: str | None) -> None:
        # OpenMMLab's own mmseg counts test images by the interval.
        hook.update(draw=True, interval=1)
        if folder:
            visualizer.update(save_dir=folder)

    def name_output(self, config: Config, out: str) -> None:
        metrics = config.test_evaluator
        for metric in metrics if isinstance(metrics, list) else [metrics]:
            metric.output_dir = out

    def dump_predictions(self, runner: Runner, out: str) -> None:
        pass  # The metric writes label maps.

    def _score(self, metric: Any, stock: Callable, scores: dict, results: list) -> dict:
        intersection, union, _, truth = (sum(areas) for areas in zip(*results, strict=True))
        iou, accuracy = 100 * intersection / union, 100 * intersection / truth
        for i, name in enumerate(metric.dataset_meta['classes']):
            scores[name] = dict(IoU=float(iou[i]), accuracy=float(accuracy[i]))
        return stock(results)
