"""The segmentation demo's pictures: image, truth and prediction in the palette, and a legend."""

import mmcv
import numpy as np
import pytest
import torch
from mmengine.structures import BaseDataElement, PixelData

from mmspike.commands.pictures import GAP, LINE, draw_label_maps
from mmspike.errors import UserError

SIZE = 64
RED, BLUE, GREEN = (0, 0, 255), (255, 0, 0), (0, 255, 0)  # As OpenCV reads them.
META = dict(classes=('a', 'b', 'never'), palette=[(255, 0, 0), (0, 0, 255), (0, 255, 0)])


class Runner:
    """As much of a runner as the pictures need: `count` grey images."""

    def __init__(self, folder, count, ignored=False):
        self.model = self
        samples = [self._sample(folder / f'{i}.png', ignored) for i in range(count)]
        self.test_dataloader = type('Loader', (list,), {})([samples[:2], samples[2:]])
        self.test_dataloader.dataset = type('Dataset', (), dict(metainfo=META))()

    def eval(self):
        return self

    def test_step(self, batch):
        return batch

    @staticmethod
    def _sample(path, ignored):
        mmcv.imwrite(np.full((SIZE, SIZE, 3), 128, np.uint8), str(path))
        truth, prediction = torch.zeros(2, 1, SIZE, SIZE, dtype=torch.long)
        truth[:, :, SIZE // 2 :] = 1  # The right half.
        truth[:, :8] = 255 if ignored else truth[:, :8]
        prediction[:, SIZE // 2 :] = 1  # The lower half.
        return BaseDataElement(
            metainfo=dict(img_path=str(path), ori_shape=(SIZE, SIZE)),
            gt_sem_seg=PixelData(data=truth),
            pred_sem_seg=PixelData(data=prediction),
        )


def colours(picture):
    """The plain colours that fill at least 50 pixels."""
    found, counts = np.unique(picture.reshape(-1, 3), axis=0, return_counts=True)
    return {tuple(colour) for colour in found[counts > 50].tolist()}


def test_image_truth_and_prediction_stand_side_by_side(tmp_path):
    draw_label_maps(Runner(tmp_path, 1), tmp_path / 'out', enlarge=2)
    picture = mmcv.imread(str(tmp_path / 'out' / '0.png'))
    side = 2 * SIZE
    assert picture.shape[1] == 3 * side + 2 * GAP
    panels = picture[LINE : LINE + side]
    image, truth, prediction = (panels[:, i * (side + GAP) :][:, :side] for i in range(3))
    assert (image == 128).all()
    assert (truth[:, : side // 2] == RED).all() and (truth[:, side // 2 :] == BLUE).all()
    assert (prediction[: side // 2] == RED).all() and (prediction[side // 2 :] == BLUE).all()


@pytest.mark.parametrize('ignored', [False, True])
def test_the_legend_names_what_is_shown(tmp_path, ignored):
    draw_label_maps(Runner(tmp_path, 1, ignored), tmp_path / 'out', enlarge=2)
    picture = mmcv.imread(str(tmp_path / 'out' / '0.png'))
    assert (picture[:LINE] < 128).any(), 'no headings'
    legend = picture[LINE + 2 * SIZE :]
    assert {RED, BLUE} <= colours(legend) and GREEN not in colours(legend)
    # Boxes are as high as a line; a third one stands for what belongs to no class.
    boxes = (legend[GAP, :, :] == (40, 40, 40)).all(-1).sum()
    assert boxes == LINE * (3 if ignored else 2)


@pytest.mark.parametrize('count, columns, across', [(3, 2, 2), (1, 2, 1)])
def test_overview(tmp_path, count, columns, across):
    overview = draw_label_maps(Runner(tmp_path, 3), tmp_path / 'out', count, columns, enlarge=1)
    tile, rows = 3 * SIZE + 2 * GAP, -(-count // columns)
    height, width, _ = mmcv.imread(str(overview)).shape
    assert width == across * tile + (across - 1) * 2 * GAP
    assert height == LINE + rows * SIZE + (rows - 1) * 2 * GAP + LINE + GAP
    assert len(list((tmp_path / 'out').iterdir())) == count + 1


def test_no_image_is_said_so(tmp_path):
    with pytest.raises(UserError, match='holds no image'):
        draw_label_maps(Runner(tmp_path, 0), tmp_path / 'out')
