"""Test-time augmentation flips images and never the truth of a segmentation."""

import cv2
import numpy as np
import pytest
from mmcv.transforms import Compose
from mmengine.config import Config
from mmengine.registry import DefaultScope

from mmspike.engine.evaluation import use_tta


def test_the_truth_of_a_segmentation_is_not_flipped(tmp_path):
    pytest.importorskip('mmseg', reason='label maps are of mmseg')
    image = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    truth = np.arange(24, dtype=np.uint8).reshape(4, 6) % 3
    cv2.imwrite(str(tmp_path / 'image.png'), image)
    cv2.imwrite(str(tmp_path / 'truth.png'), truth)
    pipeline = [
        dict(type='mmspike.LoadImageFromFile'),
        dict(type='mmspike.LoadSegAnnotations'),
        dict(type='PackSegInputs'),
    ]
    config = Config(
        dict(
            default_scope='mmseg',
            model=dict(type='EncoderDecoder'),
            tta_model=dict(type='SegTTAModel'),
            test_dataloader=dict(dataset=dict(pipeline=pipeline)),
        )
    )
    use_tta(config)
    with DefaultScope.overwrite_default_scope('mmseg'):
        steps = Compose(config.test_dataloader.dataset.pipeline)
        info = dict(img_path=str(tmp_path / 'image.png'), seg_fields=[])
        result = steps(dict(info, seg_map_path=str(tmp_path / 'truth.png')))
    plain, flipped = (inputs.numpy().transpose(1, 2, 0) for inputs in result['inputs'])
    assert np.array_equal(plain, image)
    assert np.array_equal(flipped, image[:, ::-1])
    for sample in result['data_samples']:
        assert np.array_equal(sample.gt_sem_seg.data[0].numpy(), truth)
