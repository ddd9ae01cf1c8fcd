"""Where the predictions of pictures go: a file for each, label maps in the dataset's ids."""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import mmcv
from mmengine.evaluator import BaseMetric

from mmspike.checks.data import inner_datasets
from mmspike.datasets.transforms import to_file_ids


def output_names(inputs: Sequence[Path | None], taken: Iterable[str] = ()) -> list[str]:
    """Name an output after each input, without a suffix, so that no two share a file.

    Where inputs have one name, all keep the folders below the one that holds them all; those that
    are still alike keep their suffix, or get a number.

    Args:
        inputs: Files; None is named by its place.
        taken: Names that no input may have.
    """
    names = [path.stem if path else f'{place:06d}' for place, path in enumerate(inputs)]
    if len(set(names)) < len(names):
        folders = [os.path.abspath(path.parent) if path else '' for path in inputs]
        root = os.path.commonpath(list(filter(None, folders)) or [''])
        below = [f'{os.path.relpath(f, root)}/'.removeprefix('./') if f else '' for f in folders]
        names = [folder + name for folder, name in zip(below, names, strict=True)]
    counts, used = Counter(names), set(taken)
    for place, (path, name) in enumerate(zip(inputs, names, strict=True)):
        if path and counts[name] > 1:
            name = name.removesuffix(path.stem) + path.name.replace('.', '_')
        while name in used:
            name = f'{name}_{place}'
        used.add(name)
        names[place] = name
    return names


def picture_names(dataset: Any, taken: Iterable[str] = ()) -> dict[str, str]:
    """Name the outputs of a dataset's pictures, each by its path, as `output_names` does.

    Args:
        dataset: A built dataset, wrapped or not.
        taken: Names that no picture may have.
    """
    paths = dict.fromkeys(str(info['img_path']) for info in _samples(dataset) if 'img_path' in info)
    return dict(zip(paths, output_names([Path(path) for path in paths], taken), strict=True))


def _samples(dataset: Any) -> Iterable[dict]:
    for inner in inner_datasets(dataset):
        if hasattr(inner, 'get_data_info'):
            yield from (inner.get_data_info(index) for index in range(len(inner)))


class WriteLabelMaps(BaseMetric):
    """Write what a segmentor predicts, in the ids of the label maps of its dataset.

    mmseg's metric writes pictures of one name over each other, and the ids that a model learns.

    Args:
        folder: Where to write.
        dataset: The dataset that is predicted, built.
    """

    def __init__(self, folder: str, dataset: Any) -> None:
        super().__init__()
        self.folder = folder
        self._names = picture_names(dataset)
        self._infos = {str(info['img_path']): info for info in _samples(dataset)}

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Write the label maps of a batch.

        Args:
            data_batch: Unused.
            data_samples: With ``pred_sem_seg`` and ``img_path``.
        """
        for sample in data_samples:
            path = str(sample['img_path'])
            found = sample['pred_sem_seg']['data'].long().cpu()
            labels = found.reshape(found.shape[-2:]).numpy()
            ids = to_file_ids(labels, self._infos[path])
            mmcv.imwrite(ids, os.path.join(self.folder, f'{self._names[path]}.png'))

    def evaluate(self, size: int) -> dict:
        """Give no score: `compute_metrics` would be asked for one of nothing."""
        return {}

    def compute_metrics(self, results: list) -> dict:
        """Give no score."""
        return {}
