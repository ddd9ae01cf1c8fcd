"""A loss has a weight for each score of its head, which no other number of weights passes."""

import pytest
import torch
from mmengine.dataset import BaseDataset
from torch import nn

from mmspike.checks.data import check_classes
from mmspike.errors import UserError


def box_head(weights, sigmoid):
    mmdet = pytest.importorskip('mmdet.models', reason='heads of boxes are of mmdet')
    loss = dict(type='mmdet.CrossEntropyLoss', use_sigmoid=sigmoid, class_weight=weights)
    return mmdet.BBoxHead(in_channels=4, roi_feat_size=1, num_classes=2, loss_cls=loss)


def dense_head(weights, sigmoid):
    mmdet = pytest.importorskip('mmdet.models', reason='heads of boxes are of mmdet')
    loss = dict(type='mmdet.CrossEntropyLoss', use_sigmoid=sigmoid, class_weight=weights)
    return mmdet.AnchorHead(
        num_classes=2,
        in_channels=4,
        loss_cls=loss,
        anchor_generator=dict(type='mmdet.AnchorGenerator', scales=[8], ratios=[1.0], strides=[4]),
        bbox_coder=dict(type='mmdet.DeltaXYWHBBoxCoder'),
    )


def of_boxes(head, features):
    return head.loss_cls(head(features.flatten(1))[0], torch.tensor([0, 1]))


def dense(head, features):
    scores = head.forward_single(features)[0]
    labels = torch.ones(2, dtype=torch.long)
    return head.loss_cls(scores.permute(0, 2, 3, 1).reshape(2, -1), labels)


@pytest.mark.parametrize(
    'build, sigmoid, right, loss',
    [
        (box_head, False, 3, of_boxes),
        (box_head, True, 3, of_boxes),
        (dense_head, False, 3, dense),
        (dense_head, True, 2, dense),
    ],
)
def test_weights_of_a_detector(build, sigmoid, right, loss):
    """The right number is the one that the loss itself takes."""
    dataset = BaseDataset(lazy_init=True, metainfo=dict(classes=('a', 'b')))
    for count in (2, 3, 4):
        head = build([1.0] * count, sigmoid)
        model = nn.ModuleDict(dict(bbox_head=head))
        if count == right:
            check_classes(model, dataset)
            assert loss(head, torch.rand(2, 4, 1, 1)).isfinite()
            continue
        with pytest.raises(RuntimeError):
            loss(head, torch.rand(2, 4, 1, 1))
        background = ', the last for the background' if right == 3 else ''
        with pytest.raises(UserError) as caught:
            check_classes(model, dataset)
        assert caught.value.sentence == (
            f'bbox_head.loss_cls.class_weight has {count} numbers, but num_classes of bbox_head '
            f'is 2; give {right}{background}, or None.'
        )


def test_weights_of_a_classifier():
    mmpretrain = pytest.importorskip('mmpretrain.models', reason='the head is of mmpretrain')
    loss = dict(type='mmpretrain.CrossEntropyLoss', class_weight=[1.0, 2.0, 3.0])
    head = mmpretrain.LinearClsHead(num_classes=2, in_channels=4, loss=loss)
    dataset = BaseDataset(lazy_init=True, metainfo=dict(classes=('a', 'b')))
    with pytest.raises(
        UserError, match='head.loss_module.class_weight has 3 numbers, but .* give 2,'
    ):
        check_classes(nn.ModuleDict(dict(head=head)), dataset)
