"""What can be wrong with the data is said before the first iteration."""

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from mmengine.config import Config
from torch.utils.data import Dataset

from mmspike.errors import UserError

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
        for dataset in _dataset_configs(loader.dataset if loader else None):
            _check_dataset_config(dataset)
        evaluators = config.get(f'{split}_evaluator') or []
        for metric in [evaluators] if isinstance(evaluators, Mapping) else evaluators:
            _demand_file(metric.get('ann_file'), 'Annotation file of the evaluator')


def _dataset_configs(node: object) -> Iterator[Mapping]:
    """Yield the innermost dataset configs below wrappers such as RepeatDataset."""
    if isinstance(node, Mapping):
        inner = node.get('datasets', node.get('dataset'))
        if inner is None:
            yield node
        else:
            yield from _dataset_configs(inner)
    elif isinstance(node, (list, tuple)):
        for child in node:
            yield from _dataset_configs(child)


def _check_dataset_config(dataset: Mapping) -> None:
    root = dataset.get('data_root') or ''
    ann_file = dataset.get('ann_file') or ''
    prefix = dataset.get('data_prefix')
    folders = list(prefix.values()) if isinstance(prefix, Mapping) else []
    # Without either, a dataset class may know better: several download their files themselves.
    if root and (ann_file or folders):
        _demand_folder(root, 'Data folder')
    if isinstance(ann_file, str) and ann_file:
        _demand_file(os.path.join(root, ann_file), 'Annotation file')
    for folder in folders:
        if isinstance(folder, str) and folder:
            _demand_folder(os.path.join(root, folder), 'Image folder')


def _demand_file(path: str | None, what: str) -> None:
    if path and '://' not in path and not os.path.isfile(path):
        raise UserError(f"{what} '{path}' is not there; {WAY_OUT}.")


def _demand_folder(path: str, what: str) -> None:
    if '://' not in path and not os.path.isdir(path):
        raise UserError(f"{what} '{path}' is not there; {WAY_OUT}.")


def check_images(dataset: Dataset) -> None:
    """Demand that every image and label map that a built dataset names is there and not empty.

    Args:
        dataset: A dataset of mmdet, mmseg or mmpretrain, wrapped or not.

    Raises:
        UserError: If a file is absent or has no bytes.
    """
    children = getattr(dataset, 'datasets', None) or [getattr(dataset, 'dataset', None)]
    if children != [None]:
        for child in children:
            check_images(child)
        return
    if not hasattr(dataset, 'get_data_info'):
        return
    names = defaultdict(set)
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        for path in (info.get('img_path'), info.get('seg_map_path')):
            if isinstance(path, str) and '://' not in path:
                folder, name = os.path.split(path)
                names[folder].add(name)
    for folder, wanted in names.items():
        _check_folder(folder, wanted)


def _check_folder(folder: str, wanted: set[str]) -> None:
    """Look the files up in one listing: a question per file takes long on a network drive."""
    found = {}
    if os.path.isdir(folder or '.'):
        with os.scandir(folder or '.') as entries:
            found = {entry.name: entry for entry in entries if entry.name in wanted}
    missing = sorted(wanted - found.keys())
    if missing:
        raise UserError(
            f"The annotations name '{Path(folder, missing[0])}', which is not there "
            f'({len(missing)} of {len(wanted)} files are missing in that folder); '
            'complete the images or correct the annotations.'
        )
    for name in sorted(wanted):
        if found[name].stat().st_size == 0:
            raise UserError(
                f"'{Path(folder, name)}' is empty (0 bytes), but an image was "
                'expected; copy or download it again.'
            )
