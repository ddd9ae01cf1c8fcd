"""Test-time augmentation flips images and never the truth of a segmentation."""

import cv2
import numpy as np
import pytest
import torch
from mmcv.transforms import Compose
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData, PixelData

from mmspike.hosts import library_of


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
    library_of(config).use_tta(config)
    with DefaultScope.overwrite_default_scope('mmseg'):
        steps = Compose(config.test_dataloader.dataset.pipeline)
        info = dict(img_path=str(tmp_path / 'image.png'), seg_fields=[])
        result = steps(dict(info, seg_map_path=str(tmp_path / 'truth.png')))
    plain, flipped = (inputs.numpy().transpose(1, 2, 0) for inputs in result['inputs'])
    assert np.array_equal(plain, image)
    assert np.array_equal(flipped, image[:, ::-1])
    for sample in result['data_samples']:
        assert np.array_equal(sample.gt_sem_seg.data[0].numpy(), truth)


def test_boxes_are_flipped_back_inside_the_picture_and_not_inside_its_padding(tmp_path):
    """A wide picture made square, in a model that finds the one white pixel block."""
    pytest.importorskip('mmdet', reason='boxes are of mmdet')
    image = np.zeros((32, 64, 3), np.uint8)
    image[8:16, 40:60] = 255
    cv2.imwrite(str(tmp_path / 'image.png'), image)
    steps = [
        dict(type='mmspike.LoadImageFromFile'),
        dict(type='Resize', scale=(32, 32), keep_ratio=True),
        dict(type='Pad', size=(48, 48)),
        dict(type='PackDetInputs'),
    ]
    config = Config(
        dict(
            default_scope='mmdet',
            model=dict(type='FindsWhite'),
            test_dataloader=dict(dataset=dict(pipeline=steps)),
        )
    )
    library_of(config).use_tta(config)
    with DefaultScope.overwrite_default_scope('mmdet'):
        result = Compose(config.test_dataloader.dataset.pipeline)(
            dict(img_path=str(tmp_path / 'image.png'), img_id=0)
        )
        for view, sample in zip(result['inputs'], result['data_samples'], strict=True):
            assert view.shape[-2:] == (48, 48)
            rows, columns = (view[0] > 127).nonzero().T
            found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            sample.pred_instances = InstanceData(
                bboxes=torch.tensor([found]) / sample.scale_factor[0],
                scores=torch.ones(1),
                labels=torch.zeros(1).long(),
            )
        from mmdet.models.test_time_augs import DetTTAModel

        merged, _ = DetTTAModel.merge_aug_bboxes(
            None,
            [sample.pred_instances.bboxes for sample in result['data_samples']],
            [sample.pred_instances.scores for sample in result['data_samples']],
            [sample.metainfo for sample in result['data_samples']],
        )
    expected = torch.tensor([40.0, 8, 60, 16])
    for box in merged:
        torch.testing.assert_close(box, expected, atol=2, rtol=0)


def test_views_of_one_output_are_averaged_as_probabilities():
    """The stock model takes a second sigmoid of them, which is never below a half."""
    pytest.importorskip('mmseg', reason='label maps are of mmseg')
    from mmseg.structures import SegDataSample

    from mmspike.models import SegTTAModel

    config = Config(
        dict(
            default_scope='mmseg',
            model=dict(type='EncoderDecoder'),
            tta_model=dict(type='SegTTAModel'),
            test_dataloader=dict(dataset=dict(pipeline=[dict(type='PackSegInputs')])),
        )
    )
    library_of(config).use_tta(config)
    assert config.model.type == 'mmspike.SegTTAModel'
    views = torch.tensor([[[[0.1, 0.1, 0.9]]], [[[0.3, 0.7, 0.9]]]])
    samples = []
    for view in views:
        sample = SegDataSample(metainfo=dict(img_path='a.png'))
        samples.append(sample.set_data(dict(seg_logits=PixelData(data=view))) or sample)
    model = torch.nn.Module()
    model.test_step = None
    model.out_channels, model.decode_head = 1, torch.nn.Module()
    model.decode_head.threshold = 0.3
    (merged,) = SegTTAModel(model).merge_preds([samples])
    assert merged.pred_sem_seg.data.flatten().tolist() == [0, 1, 1]  # 0.2, 0.4 and 0.9.
