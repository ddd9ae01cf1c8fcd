"""What is mmseg's own: label maps."""

from collections import ChainMap
from collections.abc import Callable
from inspect import signature
from typing import Any

import torch
from mmengine.config import Config, ConfigDict
from mmengine.runner import Runner
from mmengine.structures import PixelData

from .library import Library, build_without_weights
from .outputs import WriteLabelMaps

REDUCED = 'reduce_zero_label'


class MMSeg(Library):
    """mmseg: semantic segmentation."""

    name = 'mmseg'
    sample = ('mmseg.structures', 'SegDataSample')
    hook = 'SegVisualizationHook'
    visualizer = 'SegLocalVisualizer'
    class_metric = 'IoUMetric'
    tta_model = dict(type='mmspike.SegTTAModel')
    # Label maps are flipped back themselves, so the truth must not be flipped at all.
    behind_flips = 'Annotation'

    def add_truth(self, sample: Any, height: int, width: int) -> None:
        labels = torch.zeros(1, height, width, dtype=torch.long)
        sample.gt_sem_seg = PixelData(data=labels)

    def build_inferencer(self, config: Config, device: str) -> Any:
        from mmseg.apis import MMSegInferencer

        return build_without_weights(MMSegInferencer, config, device, self.name)

    def _draw(self, hook: dict, visualizer: dict, folder: str | None) -> None:
        # OpenMMLab's own mmseg counts test images by the interval.
        hook.update(draw=True, interval=1)
        if folder:
            visualizer.update(save_dir=folder)

    def label_info(self, dataset: ConfigDict) -> dict:
        kind = self.dataset_type(dataset)
        options = [
            {name: parameter.default for name, parameter in signature(c).parameters.items()}
            for c in getattr(kind, '__mro__', ())[:-1]
        ]
        reduced = ChainMap(dataset, *options).get(REDUCED, False)
        names = (dataset.get('metainfo') or {}).get('classes')
        label_map = kind.get_label_map(names) if hasattr(kind, 'get_label_map') else None
        return {REDUCED: reduced, 'label_map': label_map}

    def use_tta(self, config: Config) -> None:
        super().use_tta(config)
        if config.model.type in ('SegTTAModel', 'mmseg.SegTTAModel'):
            config.model.type = self.tta_model['type']

    def name_output(self, config: Config, out: str) -> None:
        pass  # Any name is that of a folder.

    def dump_predictions(self, runner: Runner, out: str) -> None:
        metric = WriteLabelMaps(out, runner.test_dataloader.dataset)
        runner.test_evaluator.metrics.append(metric)

    def _score(self, metric: Any, stock: Callable, scores: dict, results: list) -> dict:
        intersection, union, _, truth = (sum(areas) for areas in zip(*results, strict=True))
        iou, accuracy = 100 * intersection / union, 100 * intersection / truth
        for i, name in enumerate(metric.dataset_meta['classes']):
            scores[name] = dict(IoU=float(iou[i]), accuracy=float(accuracy[i]))
        return stock(results)
