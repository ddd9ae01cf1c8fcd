"""Time folded into the batch, and unfolded again.

Between modules a feature is ``[T*B, C, H, W]``, time-major: all samples of step 0, then all
samples of step 1, and so on. ``T`` counts time steps, ``B`` samples; ``...`` stands for whatever
follows (channels, height and width, or features).
"""

import torch
from torch import Tensor

from mmspike.errors import UserError


def check_time_steps(time_steps: object) -> int:
    """Return `time_steps` if it is a positive integer.

    Raises:
        UserError: If it is anything else.
    """
    if isinstance(time_steps, bool) or not isinstance(time_steps, int) or time_steps < 1:
        raise UserError(
            f'time_steps is {time_steps!r}, but it must be an integer of at least 1; '
            "set it in the backbone's config (time_steps=4, say)."
        )
    return time_steps


def repeat_time(x: Tensor, time_steps: int) -> Tensor:
    """Present the same `x` at every time step.

    Shape:
        - x: ``[B, ...]``
        - returns: ``[T*B, ...]``
    """
    if time_steps == 1:
        return x
    return torch.cat([x] * time_steps)


def unfold(x: Tensor, time_steps: int | None) -> Tensor:
    """Take the time axis out of the batch.

    Shape:
        - x: ``[T*B, ...]``
        - returns: ``[T, B, ...]``

    Raises:
        UserError: If `time_steps` was never set, or does not divide the batch.
    """
    if time_steps is None:
        raise UserError(
            'time_steps was never set: build the layer inside a mmspike model, which hands its '
            'time_steps to every neuron and head, or call '
            'mmspike.neurons.set_time_steps(module, T).'
        )
    if x.shape[0] % time_steps:
        raise UserError(
            f'a batch of {x.shape[0]} cannot be unfolded into {time_steps} time steps: its size '
            'must be T*B; repeat still images over time first (the backbone does).'
        )
    return x.unflatten(0, (time_steps, x.shape[0] // time_steps))


def fold(x: Tensor) -> Tensor:
    """Put the time axis into the batch.

    Shape:
        - x: ``[T, B, ...]``
        - returns: ``[T*B, ...]``
    """
    return x.flatten(0, 1)


def fold_sequence(x: Tensor) -> Tensor:
    """Fold a batch of sequences, as data loaders stack them, time-major.

    Shape:
        - x: ``[B, T, ...]``
        - returns: ``[T*B, ...]``
    """
    return fold(x.transpose(0, 1))


def mean_over_time(x: Tensor, time_steps: int | None) -> Tensor:
    """Average over the time steps: the readout of a head.

    Shape:
        - x: ``[T*B, ...]``
        - returns: ``[B, ...]``
    """
    if time_steps == 1:
        return x
    return unfold(x, time_steps).mean(dim=0)


def repeat_rois(rois: Tensor, time_steps: int, batch_size: int) -> Tensor:
    """Repeat RoIs at every time step, each pointing at its own image of that step.

    Args:
        rois: RoIs whose column 0 is the index of the image in the batch of `batch_size`.
        time_steps: The number of time steps T.
        batch_size: The number of images B.

    Shape:
        - rois: ``[N, 5]`` as (index, x1, y1, x2, y2)
        - returns: ``[T*N, 5]``, time-major, the index counting in ``[T*B]``
    """
    steps = torch.arange(time_steps, device=rois.device, dtype=rois.dtype)
    repeated = rois.repeat(time_steps, 1)
    repeated[:, 0] += (steps * batch_size).repeat_interleave(len(rois))
    return repeated
