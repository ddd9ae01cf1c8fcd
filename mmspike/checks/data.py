"""Check data, classes and detector of a config before the first iteration."""

import logging
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.dist import is_main_process
from mmengine.logging import print_log
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import DataLoader, Dataset

from mmspike.checks.label_maps import LABELS, look_at_label_maps, tell_passed_over
from mmspike.checks.objects import HandedOut, tell_objects
from mmspike.checks.weights import unwrap
from mmspike.errors import UserError

FOLDERS_OF_CLASSES = ('ImageNet', 'CustomDataset')  # Of mmpretrain; they download nothing.
WAY_OUT = 'give the right folder with --cfg-options data_root=FOLDER'


def check_data(config: Config, splits: Iterable[str]) -> None:
    """Demand the annotation files and image folders that a config names.

    Args:
        config: The whole config.
        splits: Which of ``train``, ``val`` and ``test`` will run.

    Raises:
        UserError: If a file or a folder is not there.
    """
    for split in splits:
        loader = config.get(f'{split}_dataloader')
        for dataset in dataset_configs(loader.dataset if loader else None):
            _check_dataset_config(dataset)
        evaluators = config.get(f'{split}_evaluator') or []
        for metric in [evaluators] if isinstance(evaluators, Mapping) else evaluators:
            _require_file(metric.get('ann_file'), 'Annotation file of the evaluator')


def dataset_configs(node: object) -> Iterator[dict]:
    """Yield the innermost dataset configs below wrappers such as RepeatDataset."""
    if isinstance(node, dict):
        inner = node.get('datasets', node.get('dataset'))
        if inner is None:
            yield node
        else:
            yield from dataset_configs(inner)
    elif isinstance(node, (list, tuple)):
        for child in node:
            yield from dataset_configs(child)


def _check_dataset_config(dataset: Mapping) -> None:
    root, ann_file, folders = places_of(dataset)
    # Without either, a dataset class may know better: several download their files themselves.
    if root and (ann_file or folders or dataset.get('type') in FOLDERS_OF_CLASSES):
        _require_folder(root, 'Data folder')
    if ann_file:
        _require_file(os.path.join(root, ann_file), 'Annotation file')
    for key, folder in folders.items():
        if isinstance(folder, str) and folder:
            kind = 'Label folder' if key == LABELS else 'Image folder'
            _require_folder(os.path.join(root, folder), kind)


def places_of(dataset: Mapping) -> tuple[str, str, Mapping]:
    """Give data root, annotation file and folders of a dataset config, empty where it has none."""
    ann_file, prefix = dataset.get('ann_file'), dataset.get('data_prefix')
    return (
        dataset.get('data_root') or '',
        ann_file if isinstance(ann_file, str) else '',
        prefix if isinstance(prefix, Mapping) else {},
    )


def _require_file(path: str | None, what: str) -> None:
    if path and '://' not in path and not os.path.isfile(path):
        raise UserError(f"{what} '{path}' is not there; {WAY_OUT}.")


def _require_folder(path: str, what: str) -> None:
    if '://' not in path and not os.path.isdir(path):
        raise UserError(f"{what} '{path}' is not there; {WAY_OUT}.")


def build_dataset(
    build: Callable[[], DataLoader], config: ConfigDict, split: str = 'test'
) -> Dataset:
    """Build a dataloader, and demand that its dataset holds images and that all of them are there.

    The first process alone looks at the files.

    Args:
        build: Returns the dataloader.
        config: Its config, for the message.
        split: Which it is, for the message.

    Returns:
        The dataset.

    Raises:
        UserError: If the dataset is empty, hands out none of its objects, a file it names is
            absent or has no bytes, its annotations cannot be right, or its label maps are black
            and white.
    """
    try:
        dataset = build().dataset
    except ValueError as error:
        # All that mmengine says of a dataset without images.
        if 'need at least one array to concatenate' not in str(error):
            raise
        raise UserError(_why_empty(config)) from error
    if hasattr(dataset, '__len__') and len(dataset) == 0:
        raise UserError(_why_empty(config))
    if not is_main_process():
        return dataset
    inners = list(inner_datasets(dataset))
    files = [inner.annotation_file for inner in inners if hasattr(inner, 'annotation_file')]
    tell_objects(files, check_images(dataset), split)
    for inner in inners:
        _tell_unchecked(inner)
        look_at_label_maps(inner, split)
        tell_passed_over(inner)
    return dataset


def _tell_unchecked(dataset: Any) -> None:
    """Say of mmdet's `CocoDataset`, and of one derived from it, that nobody checks it."""
    kind = type(dataset)
    if getattr(getattr(kind, 'COCOAPI', None), '__name__', '') == 'COCO':
        print_log(
            f'The annotations of {kind.__module__}.{kind.__name__} are not checked; use '
            'mmspike.CocoDataset, or derive the class from mmspike.datasets.coco.CocoDataset.',
            logger='current',
            level=logging.WARNING,
        )


def _why_empty(config: ConfigDict) -> str:
    reasons = []
    for dataset in dataset_configs(config.dataset):
        root, ann_file, folders = places_of(dataset)
        images = os.path.join(root, folders.get('img_path') or folders.get('img') or '')
        name = next((name for _, _, names in os.walk(images) for name in sorted(names)), None)
        if name is None:
            return f"Image folder '{images}' is empty; {WAY_OUT}."
        if ann_file:
            ann_file = os.path.join(root, ann_file)
            reasons.append(
                f"Annotation file '{ann_file}' names no image to use: none, or none with an object "
                f'that filter_cfg of the dataset leaves; complete it, or {WAY_OUT}.'
            )
        else:
            suffix = f"'{dataset['img_suffix']}'" if 'img_suffix' in dataset else 'its default'
            reasons.append(
                f"Image folder '{images}' holds no image that ends in img_suffix ({suffix}), but "
                f"for example '{name}'; set img_suffix of the dataset, or {WAY_OUT}."
            )
    return reasons[0]


def check_images(dataset: Dataset) -> list[HandedOut]:
    """Demand that every image and label map that a built dataset names is there and not empty.

    Args:
        dataset: A dataset of mmdet, mmseg or mmpretrain, wrapped or not.

    Returns:
        What each dataset of mmdet in it hands out.

    Raises:
        UserError: If a file is absent or has no bytes.
    """
    handed = []
    for inner in inner_datasets(dataset):
        if not hasattr(inner, 'get_data_info'):
            continue
        handed.append(HandedOut(inner))
        partners: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
        for index in range(len(inner)):
            info = inner.get_data_info(index)
            handed[-1].add(info)
            for key in ('img_path', LABELS):
                path = info.get(key)
                if isinstance(path, str) and '://' not in path:
                    folder, name = os.path.split(path)
                    partners[key, folder][name] = info.get('img_path')
        for (key, folder), images in partners.items():
            _check_folder(folder, images, key == LABELS)
    return handed


def inner_datasets(dataset: Dataset) -> Iterator[Any]:
    """Yield the datasets that others repeat, balance or join; one that stands alone is its own."""
    children = getattr(dataset, 'datasets', None) or [getattr(dataset, 'dataset', None)]
    if children == [None]:
        yield dataset
    else:
        for child in children:
            yield from inner_datasets(child)


def _check_folder(folder: str, images: Mapping[str, str], labels: bool) -> None:
    """Look the files up in one listing of the folder, then ask the size of each wanted one.

    Args:
        folder: Where they lie.
        images: The wanted files, with the image to which each belongs.
        labels: Whether they are label maps.
    """
    found = {}
    if os.path.isdir(folder or '.'):
        with os.scandir(folder or '.') as entries:
            found = {entry.name: entry for entry in entries if entry.name in images}
    missing = sorted(images.keys() - found.keys())
    if missing:
        path = Path(folder, missing[0])
        counts = f'{len(missing)} of {len(images)} files are missing in that folder'
        if labels:
            raise UserError(
                f"Label map '{path}' of image '{images[missing[0]]}' is not there ({counts}); "
                'complete the label maps, or correct seg_map_suffix or data_prefix of the dataset.'
            )
        raise UserError(
            f"The annotations name '{path}', which is not there ({counts}); "
            'complete the images or correct the annotations.'
        )
    for name in sorted(images):
        # A sample of frames is a folder, whose size means nothing.
        if found[name].is_file() and found[name].stat().st_size == 0:
            expected = 'a label map' if labels else 'an image'
            raise UserError(
                f"'{Path(folder, name)}' is empty (0 bytes), but {expected} was expected; "
                'copy or download it again.'
            )


def check_classes(model: nn.Module, dataset: Dataset) -> None:
    """Compare a dataset's classes with its model.

    Args:
        model: The model, possibly wrapped for distribution.
        dataset: Its dataset, wrapped or not.

    Raises:
        UserError: If the dataset has more classes than a segmentor or classifier, or a loss other
            weights.
    """
    model = unwrap(model)
    _check_class_weights(model)
    for inner in inner_datasets(dataset):
        classes = getattr(inner, 'metainfo', {}).get('classes')
        if not classes:
            continue
        for name, others in (('decode_head', ' (and of auxiliary_head)'), ('head', '')):
            own = getattr(getattr(model, name, None), 'num_classes', None)
            if own is not None and len(classes) > own:
                raise UserError(
                    f'The model has num_classes={own}, but {type(inner).__name__} has '
                    f'{len(classes)} classes; set num_classes of model.{name}{others} to their '
                    'number.'
                )
            if own is not None and len(classes) < own:
                print_log(
                    f'The model has num_classes={own}, but {type(inner).__name__} has '
                    f'{len(classes)} classes: the others will never be learnt or scored.',
                    logger='current',
                    level=logging.WARNING,
                )


def check_detector(runner: Runner, split: str) -> None:
    """Ask mmdet's NumClassCheckHook, if a run has it, before the first epoch does.

    Args:
        runner: The runner.
        split: ``train``, ``val`` or ``test``, of which it looks at the first two.

    Raises:
        UserError: If the heads of a detector have another number of classes than the dataset.
    """
    for hook in runner.hooks:
        if type(hook).__name__ == 'NumClassCheckHook':
            try:
                getattr(hook, f'before_{split}_epoch')(runner)
            except AssertionError as error:
                reason = ' '.join(str(error).split())
                raise UserError(
                    f'the classes of the model and of {split}_dataloader differ ({reason}); set '
                    'num_classes of every bbox_head and mask_head of the model to their number, or '
                    'metainfo.classes of the dataset.'
                ) from error


def _check_class_weights(model: nn.Module) -> None:
    for name, head in model.named_modules():
        for key in ('loss_decode', 'loss_module', 'loss_cls'):
            losses = getattr(head, key, None)
            for loss in losses if isinstance(losses, nn.ModuleList) else [losses]:
                weights: Any = getattr(loss, 'class_weight', None)
                if not hasattr(weights, '__len__') or not hasattr(head, 'num_classes'):
                    continue
                outputs = _scores_of(head, loss) if key == 'loss_cls' else head.num_classes
                if len(weights) != outputs:
                    last = ', the last for the background' if outputs > head.num_classes else ''
                    raise UserError(
                        f'{name}.{key}.class_weight has {len(weights)} numbers, but num_classes '
                        f'of {name} is {head.num_classes}; give {outputs}{last}, or None.'
                    )


def _scores_of(head: Any, loss: Any) -> int:
    """Count the scores of a detector's head; of a softmax the last one is the background's."""
    outputs = getattr(getattr(head, 'fc_cls', None), 'out_features', None)
    softmax = not getattr(loss, 'use_sigmoid', False)
    return outputs or getattr(head, 'cls_out_channels', head.num_classes + softmax)
