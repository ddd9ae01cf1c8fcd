"""The demo's pictures: the truth on the left of each, enlarged, with labels."""

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData
from PIL import Image

pytest.importorskip('mmdet', reason='the pictures show detections of mmdet')
import mmcv  # noqa: E402
from mmdet.structures import DetDataSample  # noqa: E402
from mmdet.visualization import DetLocalVisualizer  # noqa: E402

from mmspike.commands.pictures import draw_as_loaded, draw_predictions  # noqa: E402
from mmspike.errors import UserError  # noqa: E402

SIZE = 24


class Runner:
    """As much of a runner as the pictures need: `count` grey images with one object each."""

    def __init__(self, folder, count):
        self.visualizer = DetLocalVisualizer(name=f'pictures-{folder.name}')
        self.model = self
        samples = [self._sample(folder, i) for i in range(count)]
        self.test_dataloader = type('Loader', (list,), {})([samples[:2], samples[2:]])
        self.test_dataloader.dataset = type('D', (), {})()
        self.test_dataloader.dataset.metainfo = dict(classes=('a',), palette=[(255, 0, 0)])

    def eval(self):
        return self

    def test_step(self, batch):
        return batch

    @staticmethod
    def _sample(folder, index):
        path = folder / f'{index}.png'
        mmcv.imwrite(np.full((SIZE, SIZE, 3), 128, np.uint8), str(path))
        masks = torch.zeros(1, SIZE, SIZE, dtype=torch.bool)
        masks[:, 8:16, 8:16] = True
        instances = InstanceData(
            bboxes=torch.tensor([[8.0, 8, 16, 16]]), labels=torch.zeros(1).long(), masks=masks
        )
        sample = DetDataSample(
            metainfo=dict(img_path=str(path), ori_shape=(SIZE, SIZE)), gt_instances=instances
        )
        found = instances.clone()
        found.scores = torch.tensor([0.1 if index else 0.9])
        sample.pred_instances = found
        return sample


def test_truth_stands_on_the_left_and_weak_predictions_are_left_out(tmp_path):
    overview = draw_predictions(
        Runner(tmp_path, 3), tmp_path / 'out', count=3, columns=2, enlarge=4
    )
    sheet = mmcv.imread(str(overview))
    assert sheet.shape == (2 * 4 * SIZE + 8, 2 * 2 * 4 * SIZE + 8, 3)
    for index, found in ((0, True), (1, False)):
        picture = mmcv.imread(str(tmp_path / 'out' / f'{index}.png'))
        truth, prediction = np.split(picture, 2, axis=1)
        assert (truth != 128).any()
        assert (prediction != 128).any() == found
        inside = prediction[4 * 9 : 4 * 15, 4 * 9 : 4 * 15]
        assert (inside != 128).any() == found, 'the mask was not enlarged with the image'


def test_no_image_is_said_so(tmp_path):
    with pytest.raises(UserError, match='holds no image'):
        draw_predictions(Runner(tmp_path, 0), tmp_path / 'out')


def test_an_image_that_was_loaded_as_stored_is_drawn_so(tmp_path):
    """Its EXIF turns it; the boxes that are drawn are for the image as it was loaded."""
    path = tmp_path / 'turned.png'
    tag = Image.Exif()
    tag[0x0112] = 6
    stored = np.zeros((16, 24, 3), np.uint8)
    stored[:8] = 200
    Image.fromarray(stored).save(path, exif=tag)
    visualizer = DetLocalVisualizer(name='turned')
    draw_as_loaded(visualizer, [])
    turned = mmcv.imread(str(path), channel_order='rgb')
    assert turned.shape == (24, 16, 3)
    for shape, expected in (((16, 24), stored), ((24, 16), turned)):
        sample = DetDataSample(metainfo=dict(img_path=str(path), ori_shape=shape))
        visualizer.add_datasample('', turned, data_sample=sample, draw_pred=False)
        assert np.array_equal(visualizer.get_image(), expected)


def test_a_box_beyond_the_image_leaves_the_panels_of_one_size(tmp_path):
    runner = Runner(tmp_path, 1)
    (samples, _) = runner.test_dataloader
    samples[0].pred_instances.bboxes = torch.tensor([[8.0, -9, 40, 16]])
    draw_predictions(runner, tmp_path / 'out', count=1, columns=1, enlarge=4)
    picture = mmcv.imread(str(tmp_path / 'out' / '0.png'))
    truth, prediction = np.split(picture, 2, axis=1)
    # Where neither has a box they are the same grey, and not moved.
    assert np.array_equal(truth[-24:], prediction[-24:]) and (truth[-24:] == 128).all()
