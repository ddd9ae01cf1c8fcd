"""What is mmdet's own: boxes and masks."""

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from mmengine.structures import InstanceData

from mmspike.errors import UserError

from .library import Library, build_without_weights


class MMDet(Library):
    """mmdet: detection and instance segmentation."""

    name = 'mmdet'
    sample = ('mmdet.structures', 'DetDataSample')
    hook = 'DetVisualizationHook'
    visualizer = 'DetLocalVisualizer'
    class_metric = 'CocoMetric'
    full_score = 1.0
    tta_model = dict(
        type='DetTTAModel',
        tta_cfg=dict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=100),
    )
    # Boxes are flipped back inside the original picture, which padding before would have shifted.
    behind_flips = 'Pad'

    def add_truth(self, sample: Any, height: int, width: int) -> None:
        from mmdet.structures.mask import BitmapMasks

        masks = np.zeros((2, height, width), np.uint8)
        masks[0, : height // 2, : width // 2] = 1
        masks[1, height // 4 :, width // 4 :] = 1
        boxes = [[0, 0, width // 2, height // 2], [width // 4, height // 4, width, height]]
        sample.gt_instances = InstanceData(
            bboxes=torch.tensor(boxes, dtype=torch.float32),
            labels=torch.zeros(2, dtype=torch.long),
            masks=BitmapMasks(masks, height, width),
        )
        sample.ignored_instances = InstanceData(
            bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long)
        )

    def build_inferencer(self, config: Config, device: str) -> Any:
        from mmdet.apis import DetInferencer

        return build_without_weights(DetInferencer, config, device, self.name)

    def batch_for(self, prepared: Any) -> Any:
        return prepared[1]  # Behind the images that the batch was made of.

    def check_half(self, option: str, device: str) -> None:
        if device == 'cpu':
            raise UserError(
                f"{option} was given for a detector on a CPU, but mmcv's operators (such as nms) "
                f'know single precision alone there; leave {option} out or use a GPU.'
            )

    def _draw(self, hook: dict, visualizer: dict, folder: str | None) -> None:
        hook.update(draw=True)
        if folder:
            # A relative one mmdet would put below the work_dir and the time of the run.
            hook.update(test_out_dir=os.path.abspath(folder))

    def use_tta(self, config: Config) -> None:
        if config.model.get('roi_head', {}).get('mask_head'):
            raise UserError(
                '--tta is not possible here: mmdet merges boxes but no masks; leave --tta '
                'out or test a model without mask_head.'
            )
        super().use_tta(config)

    def _keep_flips(self, pack: dict) -> None:
        kept = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')
        pack['meta_keys'] = (*kept, 'flip', 'flip_direction')

    def dump_predictions(self, runner: Runner, out: str) -> None:
        from mmdet.evaluation import DumpDetResults

        runner.test_evaluator.metrics.append(DumpDetResults(out_file_path=out))

    def _score(self, metric: Any, stock: Callable, scores: dict, results: list) -> dict:
        # One kind after the other: the scores of classes have the same names for boxes and masks.
        # They count up to 1000 objects of a picture, COCO's own figures up to 100.
        kinds, metric.classwise = metric.metrics, True
        found: dict[str, float] = {}
        for kind in kinds:
            metric.metrics = [kind]
            found.update(stock(results))
            for name in metric.dataset_meta['classes']:
                score = found.pop(f'{name}_precision', None)
                if score is not None:
                    scores.setdefault(name, {})[f'{kind} mAP'] = float(score)
        metric.metrics = kinds
        return found
