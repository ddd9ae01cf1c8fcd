"""HAR-DVS: human activities before an event camera (Wang et al., AAAI 2024)."""

import re
from pathlib import Path
from typing import Any

from mmpretrain.datasets import BaseDataset

from mmspike.errors import UserError
from mmspike.registry import DATASETS

from .events import read_list


@DATASETS.register_module()
class HARDVS(BaseDataset):
    """HAR-DVS as frames of 346x260 pixels, to be loaded by `mmspike.LoadFrames`.

    Its 300 classes have here the names of their folders, action_001 to action_300; the
    ``HARDVS_300_class.txt`` that comes with the data, given as `classes`, has their own.

    Args:
        ann_file: The list of a split, such as ``train_label.txt``: a sample's folder below
            ``data_prefix``, perhaps its number of frames, and the class id from 0 in each line.
        frames_folder: Where in a sample's folder its frames lie, with ``{name}`` for the name of
            that folder: ``'{name}_dvs'`` leaves those of the grey camera beside them out.
        kwargs: As of mmpretrain's `BaseDataset`.

    Raises:
        UserError: If the list does not fit the classes or their folders.
    """

    METAINFO = dict(classes=tuple(f'action_{number:03d}' for number in range(1, 301)))

    def __init__(self, ann_file: str, frames_folder: str = '', **kwargs: Any) -> None:
        self.frames_folder = frames_folder
        super().__init__(ann_file=ann_file, **kwargs)

    def load_data_list(self) -> list[dict]:
        """List the folder of frames and the class id of every sample."""
        data_list: list[dict] = []
        labels: dict[str, int] = {}
        for path, label in read_list(self.ann_file, len(self.CLASSES)):
            for action in re.findall(r'action_\d+', path):
                if labels.setdefault(action, label) != label:
                    raise UserError(
                        f"'{self.ann_file}' gives samples of the folder '{action}' the class ids "
                        f'{labels[action]} and {label}, but it is one class; correct the list.'
                    )
            frames = self.frames_folder.format(name=Path(path).name)
            data_list.append(
                dict(img_path=str(Path(self.img_prefix, path, frames)), gt_label=label)
            )
        return data_list
