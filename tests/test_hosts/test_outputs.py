"""A file of its own for each input, and label maps in the ids of the dataset's files."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mmspike.datasets.transforms import to_file_ids, training_ids
from mmspike.hosts.outputs import WriteLabelMaps, output_names


@pytest.mark.parametrize(
    'paths, names',
    [
        (['in/a.jpg', 'in/b.png'], ['a', 'b']),
        (['in/x/a.jpg', 'in/y/b.jpg'], ['a', 'b']),
        (['in/x/a.jpg', 'in/y/a.jpg', 'in/c.jpg'], ['x/a', 'y/a', 'c']),
        (['in/a.jpg', 'in/a.png', 'in/c.png'], ['a_jpg', 'a_png', 'c']),
        (['in/x/a.jpg', 'in/x/a.png', 'in/y/a.png'], ['x/a_jpg', 'x/a_png', 'y/a']),
        (['a.jpg', 'a.jpg', 'a_jpg_1.jpg'], ['a_jpg', 'a_jpg_1', 'a_jpg_1_2']),
        ([None, '000000.png', None], ['000000', '000000_png', '000002']),
        (['in/sheet.png'], ['sheet_0']),
    ],
)
def test_names(paths, names):
    paths = [path and Path(path) for path in paths]
    assert output_names(paths, taken=['sheet']) == names


class Dataset:
    def __init__(self, paths, **info):
        self.infos = [dict(img_path=path, **info) for path in paths]

    def __len__(self):
        return len(self.infos)

    def get_data_info(self, index):
        return self.infos[index]


@pytest.mark.parametrize(
    'info, learnt, stored',
    [
        (dict(), [0, 2], [0, 2]),
        (dict(reduce_zero_label=True), [0, 2], [1, 3]),
        (dict(label_map={0: 255, 1: 1, 2: 255, 3: 0}), [0, 1], [3, 1]),
        (dict(reduce_zero_label=True, label_map={0: 255, 1: 1, 2: 0}), [0, 1], [3, 2]),
    ],
)
def test_a_label_map_has_the_ids_of_the_files(tmp_path, info, learnt, stored):
    """So that the loader makes of it again what was predicted; of one output they are floats."""
    paths = ['in/x/a.jpg', 'in/y/a.jpg']
    metric = WriteLabelMaps(str(tmp_path), Dataset(paths, **info))
    found = dict(data=torch.tensor([[learnt]], dtype=torch.float32))
    metric.process({}, [dict(img_path=path, pred_sem_seg=found) for path in paths])
    assert metric.evaluate(2) == {}
    for name in ('x/a', 'y/a'):
        written = np.array(Image.open(tmp_path / f'{name}.png'))
        assert written.tolist() == [stored]
        assert training_ids(info)[written].tolist() == [learnt]
    assert to_file_ids(np.array([[300]]), info).tolist() == [[300]]
