"""Compare what an evaluator of COCO reads with what its dataset hands out, before a run."""

import logging
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

import numpy as np
from mmengine.dist import is_main_process
from mmengine.logging import print_log
from mmengine.runner import Runner

from mmspike.datasets.annotation_mends import match_categories, merge_copies
from mmspike.datasets.annotation_samples import is_blank, is_of_other_size, is_shapeless
from mmspike.datasets.mask_mends import mend_masks
from mmspike.errors import UserError

COUNTED = 100  # Objects found of a class in a picture that COCO's mAP counts.


def prepare_coco_metric(metric: Any) -> None:
    """Set right what COCO's evaluation would read as something else, or die of after the run.

    Copies of pictures and objects are merged and ids of annotations numbered, as
    `mmspike.CocoDataset` does. Annotations without ``iscrowd`` are no crowd. A warning names a
    picture with more objects of a class than mAP counts.

    Args:
        metric: A `CocoMetric` of mmdet. Only on the first process, which evaluates, its annotations
            are looked at.

    Raises:
        UserError: If its ``proposal_nums`` are none that mAP can be computed with, there is no
            object, or one has no mask or no area to evaluate.
    """
    kinds = set(metric.metrics)
    numbers = list(metric.proposal_nums)
    scored = bool(kinds & {'bbox', 'segm'})
    if kinds - {'proposal_fast'} and (
        len(numbers) < 3 or numbers != sorted(numbers) or (scored and COUNTED not in numbers)
    ):
        raise UserError(
            f'proposal_nums of the evaluator is {tuple(numbers)}, but three numbers or more were '
            f'expected, the smallest first, and among them {COUNTED}, the objects of a picture '
            'that mAP counts; set for example proposal_nums=(100, 300, 1000).'
        )
    metric.iou_thrs = np.atleast_1d(metric.iou_thrs)  # Lists compare with no threshold.
    coco = metric._coco_api
    if coco is None or not is_main_process():
        return
    annotations = coco.dataset.get('annotations') or []
    if not annotations and not metric.format_only:
        raise UserError(
            'the annotation file that the evaluator reads has no annotation, so there is nothing '
            'to score; give one that has, or write format_only=True to get the predictions alone.'
        )
    if annotations:
        merge_copies(coco.dataset)
        annotations = coco.dataset['annotations']
    counts: Counter[tuple[Any, Any]] = Counter()
    for annotation in annotations:
        if not annotation.get('iscrowd'):
            annotation['iscrowd'] = 0
            counts[annotation['image_id'], annotation['category_id']] += 1
        mask = annotation.get('segmentation')
        missing = ''
        if not isinstance(annotation.get('area'), int | float):
            missing = 'no number as its area'
        elif 'segm' in kinds and (not mask or is_shapeless(mask) or is_blank(mask)):
            missing = 'no segmentation, which the metric segm needs'
        elif 'segm' in kinds and annotation['image_id'] in coco.imgs:
            missing = is_of_other_size(mask, coco.imgs[annotation['image_id']])
        if missing:
            raise UserError(
                f'An annotation of picture {annotation["image_id"]} that the evaluator reads has '
                f'{missing}; correct the file{", or set metric=bbox" if mask is None else ""}.'
            )
    if 'segm' in kinds and annotations:
        mend_masks(coco.dataset)
    _index(coco)
    (image, category), most = max(
        counts.items(), key=lambda item: item[1], default=((None, None), 0)
    )
    if scored and most > COUNTED:
        print_log(
            f"'{coco.imgs.get(image, {}).get('file_name')}' has {most} objects of category "
            f"{category}, but COCO's mAP counts the {COUNTED} surest that are found of a class in "
            'a picture, so it cannot reach 1; mAP_50 counts more (proposal_nums).',
            logger='current',
            level=logging.WARNING,
        )


def match_metric(metric: Any, classes: Sequence[str], path: str = 'the evaluator') -> None:
    """Match the categories that a metric reads with the classes of its dataset by name.

    Args:
        metric: A `CocoMetric` of mmdet that has read a file.
        classes: Of the dataset.
        path: Of the file, for the message.
    """
    coco = metric._coco_api
    coco.dataset.setdefault('annotations', [])
    match_categories(coco.dataset, classes, path, warns=False)
    merge_copies(coco.dataset)  # Of categories that mean one class.
    _index(coco)


def _index(coco: Any) -> None:
    with redirect_stdout(StringIO()):
        coco.createIndex()
    coco.img_ann_map, coco.cat_img_map = coco.imgToAnns, coco.catToImgs


def check_evaluators(runner: Runner, split: str, datasets: Iterable[Any]) -> None:
    """Build the evaluators of a split, and demand that they read what the datasets hand out.

    Args:
        runner: The runner.
        split: ``val`` or ``test``.
        datasets: The built datasets of the split, unwrapped.

    Raises:
        UserError: If an evaluator of COCO reads other pictures, objects or classes than a dataset
            hands out, or `prepare_coco_metric` raises it.
    """
    evaluator = getattr(runner, f'{split}_loop').evaluator
    configs = runner.cfg.get(f'{split}_evaluator') or []
    configs = [configs] if isinstance(configs, Mapping) else configs
    datasets = list(datasets)
    for number, metric in enumerate(evaluator.metrics):
        if not hasattr(metric, '_coco_api') or not hasattr(metric, 'proposal_nums'):
            continue
        prepare_coco_metric(metric)
        if metric._coco_api is None or not is_main_process():
            continue
        file = configs[number].get('ann_file') if number < len(configs) else None
        classes = datasets[0].metainfo.get('classes')
        if classes:
            match_metric(metric, classes, file or 'the evaluator')
        where = f"{split}_evaluator reads '{file}'"
        wanted = set(metric._coco_api.imgs)
        for dataset in datasets:
            same = file and os.path.realpath(file) == os.path.realpath(dataset.ann_file)
            wanted -= _check_agreement(metric._coco_api, dataset, where, split, bool(same))
        if wanted:
            print_log(
                f'{where}, which has {len(wanted)} pictures that {split}_dataloader does not hand '
                'out, such as '
                f"'{metric._coco_api.imgs[min(wanted, key=str)].get('file_name')}': their objects "
                'count as not found.',
                logger='current',
                level=logging.WARNING,
            )


def _check_agreement(coco: Any, dataset: Any, where: str, split: str, same: bool) -> set:
    """Compare pictures, boxes and classes; give the ids of the pictures.

    Args:
        coco: What the evaluator has read.
        dataset: A built dataset.
        where: The beginning of the message.
        split: For the message.
        same: Whether both have read the same file, so that only the ids are of interest.
    """
    ids = set()
    classes = dataset.metainfo.get('classes') or ()
    way_out = (
        f"but {split}_dataloader reads '{getattr(dataset, 'ann_file', '')}', and {{}}; let "
        'both read the same file.'
    )
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        id, path = info.get('img_id'), str(info.get('img_path'))
        ids.add(id)
        if same:
            continue
        image = coco.imgs.get(id)
        if image is None:
            raise UserError(f'{where}, {way_out.format(f"picture {id} is not in both")}')
        if os.path.basename(str(image.get('file_name'))) != os.path.basename(path):
            differ = f"picture {id} is '{image.get('file_name')}' in one and '{path}' in the other"
            raise UserError(f'{where}, {way_out.format(differ)}')
        known = {
            (_rounded(annotation['bbox']), coco.cats.get(annotation['category_id'], {}).get('name'))
            for annotation in coco.imgToAnns.get(id, ())
        }
        for instance in info.get('instances') or ():
            left, top, right, bottom = instance['bbox']
            box = _rounded((left, top, right - left, bottom - top))
            name = classes[instance['bbox_label']]
            if (box, name) not in known:
                differ = f"'{path}' has a '{name}' at {list(box)} in the second alone"
                raise UserError(f'{where}, {way_out.format(differ)}')
    return ids


def _rounded(box: Iterable[float]) -> tuple[float, ...]:
    """Round a box ``(x, y, width, height)``: corners and back it is not quite itself."""
    return tuple(round(float(value), 2) for value in box)
