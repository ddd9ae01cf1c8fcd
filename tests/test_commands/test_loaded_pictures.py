"""The sheet of pictures as the loader hands them out shows boxes and masks where they are."""

import random
from types import SimpleNamespace

import mmcv
import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData, PixelData
from mmengine.visualization import Visualizer

from mmspike.commands.loaded_pictures import draw_loaded

META = dict(classes=('a', 'b'), palette=[(255, 0, 0), (0, 0, 255)])
BOX = [20, 10, 60, 40]


class Data:
    """Five grey pictures of 100x80; each draws random numbers, as a flip does."""

    metainfo = META

    def __init__(self, sample, inputs=None):
        self.sample, self.asked = sample, []
        self.inputs = torch.full((3, 80, 100), 90).byte() if inputs is None else inputs

    def __len__(self):
        return 5

    def __getitem__(self, index):
        self.asked.append(index)
        random.random(), np.random.rand(), torch.rand(1)
        return dict(inputs=self.inputs, data_samples=self.sample)


@pytest.fixture
def draw(tmp_path):
    def run(data, visualizer):
        loader = SimpleNamespace(dataset=data)
        runner = SimpleNamespace(
            train_dataloader=loader, visualizer=visualizer, log_dir=str(tmp_path)
        )
        return draw_loaded(runner, 'train')

    return run


@pytest.fixture
def objects():
    pytest.importorskip('mmdet', reason='objects are drawn by its visualizer')
    from mmdet.structures import DetDataSample
    from mmdet.structures.bbox import HorizontalBoxes

    sample = DetDataSample()
    sample.gt_instances = InstanceData(
        bboxes=HorizontalBoxes(torch.tensor([BOX]).float()), labels=torch.tensor([1])
    )
    return sample


def test_boxes_stand_where_they_are_learnt(draw, objects):
    from mmdet.visualization import DetLocalVisualizer

    data = Data(objects)
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    sheet = mmcv.imread(str(draw(data, DetLocalVisualizer())))
    assert data.asked == [0, 2, 4], 'spread over the dataset'
    assert states == (
        random.getstate(),
        np.random.get_state()[1].tolist(),
        torch.get_rng_state().tolist(),
    )
    blue = (sheet[..., 0] > 200) & (sheet[..., 2] < 60)  # The second class, first picture.
    rows, columns = np.nonzero(blue[: 80 * 4, : 100 * 4])
    found = [columns.min(), rows.min(), columns.max(), rows.max()]
    assert np.abs(np.array(found) - 4 * np.array(BOX)).max() <= 4, 'enlarged four times'


def test_label_maps(draw):
    pytest.importorskip('mmseg', reason='label maps are drawn by its visualizer')
    from mmseg.structures import SegDataSample
    from mmseg.visualization import SegLocalVisualizer

    ids = torch.full((1, 80, 100), 255)
    ids[:, 10:40, 20:60] = 1
    sample = SegDataSample(gt_sem_seg=PixelData(data=ids))
    sheet = mmcv.imread(str(draw(Data(sample), SegLocalVisualizer())))
    blue, other = sheet[60, 100].astype(int), sheet[20, 100].astype(int)
    assert blue[0] > blue[2] + 150 and np.ptp(other) == 0, 'grey where no class is'


def test_what_cannot_be_drawn(draw, objects):
    """Other numbers, sequences of pictures, and what a plain visualizer does not draw."""
    from mmdet.visualization import DetLocalVisualizer

    assert draw(Data(objects, torch.rand(3, 80, 100)), DetLocalVisualizer()) is None
    assert draw(Data(objects, torch.ones(4, 3, 80, 100).byte()), DetLocalVisualizer()) is None
    assert draw(Data(objects), Visualizer()) is None
