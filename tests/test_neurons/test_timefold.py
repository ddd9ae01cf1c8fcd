"""The order of time and batch, on tensors whose entries say where they belong."""

import pytest
import torch

from mmspike.neurons import (
    fold,
    fold_sequence,
    mean_over_time,
    repeat_rois,
    repeat_time,
    set_time_steps,
    unfold,
)

T, B = 3, 2


def test_repeat_time_is_time_major():
    x = torch.arange(B * 4.0).view(B, 4)
    repeated = repeat_time(x, T)
    assert repeated.shape == (T * B, 4)
    for t in range(T):
        for b in range(B):
            assert torch.equal(repeated[t * B + b], x[b])


def test_fold_and_unfold_are_inverse():
    x = torch.rand(T * B, 4, 5, 6)
    assert torch.equal(fold(unfold(x, T)), x)
    assert torch.equal(unfold(x, T)[2, 1], x[2 * B + 1])


def test_fold_sequence_takes_batch_first_input():
    x = torch.rand(B, T, 4)
    assert torch.equal(fold_sequence(x)[1 * B + 0], x[0, 1])


def test_mean_over_time_averages_each_sample():
    x = torch.rand(T * B, 4)
    expected = torch.stack([(x[b] + x[B + b] + x[2 * B + b]) / 3 for b in range(B)])
    torch.testing.assert_close(mean_over_time(x, T), expected)


def test_repeat_rois_points_at_the_image_of_each_step():
    rois = torch.tensor([[1.0, 0, 1, 2, 3], [0, 4, 5, 6, 7], [1, 8, 9, 10, 11]])
    repeated = repeat_rois(rois, T, B)
    assert repeated.shape == (9, 5)
    assert repeated[:, 0].tolist() == [1, 0, 1, 3, 2, 3, 5, 4, 5]
    assert torch.equal(repeated[3:6, 1:], rois[:, 1:])
    assert rois[:, 0].tolist() == [1, 0, 1], 'the input was changed'


def test_repeat_rois_of_none():
    assert repeat_rois(torch.zeros(0, 5), T, B).shape == (0, 5)


def test_batch_that_time_does_not_divide():
    with pytest.raises(ValueError, match='a batch of 5 cannot be unfolded into 3 time steps'):
        unfold(torch.rand(5, 4), 3)


@pytest.mark.parametrize('steps', [0, -1, 2.0, '4', True, None])
def test_time_steps_must_be_a_positive_integer(steps):
    with pytest.raises(ValueError, match='must be an integer of at least 1'):
        set_time_steps(torch.nn.Identity(), steps)
