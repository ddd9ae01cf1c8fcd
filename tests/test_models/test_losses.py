"""The cross entropy of segmentation, against torch's own."""

import pytest
import torch
from torch.nn.functional import cross_entropy

pytest.importorskip('mmseg', reason='a loss of mmseg')
from mmspike.models.losses import CrossEntropyLoss


def test_class_weights_beside_ignored_pixels():
    """torch averages over the weights of the pixels that count."""
    weights = [0.5, 2.0, 1.0]
    scores, label = torch.randn(2, 3, 4, 5), torch.randint(0, 3, (2, 4, 5))
    label[0, :2] = 255
    found = CrossEntropyLoss(class_weight=weights)(scores, label, ignore_index=255)
    truth = cross_entropy(scores, label, torch.tensor(weights), ignore_index=255)
    torch.testing.assert_close(found, truth)


def test_without_weights_it_is_the_stock_loss():
    from mmseg.models import losses

    scores, label = torch.randn(2, 3, 4, 5), torch.randint(0, 3, (2, 4, 5))
    label[0, :2] = 255
    args = scores, label, None, None, None, 255
    assert torch.equal(CrossEntropyLoss()(*args), losses.CrossEntropyLoss()(*args))
