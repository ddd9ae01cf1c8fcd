"""Recordings of event cameras, in class folders or named by a list."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmpretrain.datasets import BaseDataset

from mmspike.errors import UserError
from mmspike.registry import DATASETS

# A path, perhaps the number of its frames, and the class id; parted by blanks, tabs or commas.
LINE = re.compile(r'(?P<path>.+?)(?:[\s,]+\d+)?[\s,]+(?P<label>\d+)')


def read_list(path: str | Path, num_classes: int | None) -> list[tuple[str, int]]:
    """Read a list of samples: a path and a class id in each line.

    Args:
        path: The list. Blank lines, lines that begin with ``#`` and a number of frames between
            path and class id do not matter.
        num_classes: How many classes there are, if that is known.

    Returns:
        The path and the class id of each sample.

    Raises:
        UserError: If the list cannot be read, or a line is something else or names another class.
    """
    try:
        lines = Path(path).read_text(encoding='utf-8-sig').splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"The list '{path}' cannot be read; give the path of a text.") from error
    samples = []
    for number, line in enumerate(map(str.strip, lines), 1):
        if not line or line.startswith('#'):
            continue
        match = LINE.fullmatch(line)
        if not match:
            raise UserError(
                f"Line {number} of '{path}' is '{line}', but the path of a sample and its class id "
                'were expected; correct the list.'
            )
        label = int(match['label'])
        if num_classes is not None and label >= num_classes:
            raise UserError(
                f"Line {number} of '{path}' names the class id {label}, but those of the "
                f"dataset's {num_classes} classes go from 0 to {num_classes - 1}; correct the list "
                'or the classes of the dataset.'
            )
        samples.append((match['path'].replace('\\', '/'), label))
    return samples


@DATASETS.register_module()
class EventDataset(BaseDataset):
    """Files of events (t, x, y, p), each of one class, to be loaded by `mmspike.LoadEvents`.

    Args:
        sensor_size: Width and height of the sensor in pixels.
        ann_file: A list of files and class ids (see `read_list`). Without one, every folder below
            ``data_prefix`` is a class.
        extensions: What the names of event files end in.
        kwargs: As of mmpretrain's `BaseDataset`.

    Raises:
        UserError: If an argument, the list or the folders are not as said above, or the folders
            are not those of ``metainfo.classes``.
    """

    def __init__(
        self,
        sensor_size: Sequence[int],
        ann_file: str = '',
        extensions: Sequence[str] = ('.npy', '.npz', '.txt', '.csv'),
        **kwargs: Any,
    ) -> None:
        if len(sensor_size) != 2 or any(not isinstance(n, int) or n < 1 for n in sensor_size):
            raise UserError(
                f'sensor_size is {sensor_size!r}, but it must be the width and the height of the '
                'sensor in pixels.'
            )
        self.sensor_size = tuple(sensor_size)
        self.extensions = tuple(extensions)
        super().__init__(ann_file=ann_file, **kwargs)

    def load_data_list(self) -> list[dict]:
        """List the path, the class id and the sensor of every sample."""
        if self.ann_file:
            samples = read_list(self.ann_file, len(self.CLASSES) if self.CLASSES else None)
        else:
            samples = self._find_files()
        return [
            dict(
                img_path=str(Path(self.img_prefix, path)),
                gt_label=label,
                sensor_size=self.sensor_size,
            )
            for path, label in samples
        ]

    def _find_files(self) -> list[tuple[str, int]]:
        root = Path(self.img_prefix)
        if not root.is_dir():
            raise UserError(
                f"'{root}' is no folder, but one with a folder for each class was expected; "
                'correct data_root or data_prefix of the dataset.'
            )
        folders = sorted(path.name for path in root.iterdir() if path.is_dir())
        if self.CLASSES is None:
            self._metainfo['classes'] = tuple(folders)
        alone = sorted(set(folders) ^ set(self.CLASSES))
        if alone:
            what = 'a folder but no class' if alone[0] in folders else 'a class without a folder'
            raise UserError(
                f"The classes of the dataset do not match the folders in '{root}': '{alone[0]}' "
                f'is {what}; correct metainfo.classes of the dataset or the folders.'
            )
        return [
            (str(path.relative_to(root)), label)
            for label, name in enumerate(self.CLASSES)
            for path in sorted((root / name).rglob('*'))
            if path.suffix.lower() in self.extensions
        ]
