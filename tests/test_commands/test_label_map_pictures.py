"""The segmentation demo's pictures: the true label map on the left, the predicted on the right."""

import mmcv
import numpy as np
import pytest
import torch
from mmengine.structures import PixelData

pytest.importorskip('mmseg', reason='label maps are drawn by its visualizer')
from mmseg.structures import SegDataSample  # noqa: E402
from mmseg.visualization import SegLocalVisualizer  # noqa: E402

from mmspike.commands.pictures import GAP, draw_predictions  # noqa: E402

SIZE = 64
META = dict(classes=('a', 'b', 'never'), palette=[(255, 0, 0), (0, 0, 255), (0, 255, 0)])


class Runner:
    """As much of a runner as the pictures need: `count` grey images."""

    def __init__(self, folder, count):
        self.model = self
        self.visualizer = SegLocalVisualizer(name=f'label-maps-{folder.name}')
        samples = [self._sample(folder / f'{i}.png') for i in range(count)]
        self.test_dataloader = type('Loader', (list,), {})([samples[:2], samples[2:]])
        self.test_dataloader.dataset = type('Dataset', (), dict(metainfo=META))()

    def eval(self):
        return self

    def test_step(self, batch):
        return batch

    @staticmethod
    def _sample(path):
        mmcv.imwrite(np.full((SIZE, SIZE, 3), 128, np.uint8), str(path))
        truth, prediction = torch.zeros(2, 1, SIZE, SIZE, dtype=torch.long)
        truth[:, :, SIZE // 2 :] = 1  # The right half.
        truth[:, -8:] = 255
        prediction[:, SIZE // 2 :] = 1  # The lower half.
        return SegDataSample(
            metainfo=dict(img_path=str(path), ori_shape=(SIZE, SIZE)),
            gt_sem_seg=PixelData(data=truth),
            pred_sem_seg=PixelData(data=prediction),
        )


def shares(picture, rows, columns):
    """How much of a part of a picture, in eighths, is red, blue and grey."""
    length = len(picture) // 8
    part = picture[slice(*(length * i for i in rows)), slice(*(length * i for i in columns))]
    blue, _, red = part.astype(int).transpose(2, 0, 1)
    return [float(is_so.mean()) for is_so in (red > blue + 99, blue > red + 99, red == blue)]


def test_truth_and_prediction_stand_side_by_side_in_the_palette(tmp_path):
    draw_predictions(Runner(tmp_path, 1), tmp_path / 'out', enlarge=4)
    picture = mmcv.imread(str(tmp_path / 'out' / '0.png'))
    assert picture.shape == (4 * SIZE, 2 * 4 * SIZE, 3)
    truth, prediction = np.split(picture, 2, axis=1)
    # Half of a part may be hidden by a name.
    assert shares(truth, (0, 7), (0, 4))[0] > 0.5 and shares(truth, (0, 7), (4, 8))[1] > 0.5
    assert shares(truth, (7, 8), (0, 8))[2] > 0.5, 'grey where no class is'
    assert shares(prediction, (0, 4), (0, 8))[0] > 0.5
    assert shares(prediction, (4, 8), (0, 8))[1] > 0.5


@pytest.mark.parametrize('count, columns, across', [(3, 2, 2), (1, 2, 2)])
def test_overview(tmp_path, count, columns, across):
    overview = draw_predictions(Runner(tmp_path, 3), tmp_path / 'out', count, columns, enlarge=1)
    height, width, _ = mmcv.imread(str(overview)).shape
    rows = -(-count // columns)
    assert width == across * 2 * SIZE + (across - 1) * GAP
    assert height == rows * SIZE + (rows - 1) * GAP
    assert len(list((tmp_path / 'out').iterdir())) == count + 1
