"""Reuse the input that autograd has saved for a batch norm, in place of the membrane potentials.

A neuron behind the norm computes its potentials again from that input in the backward pass.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..base import lies_channels_last


class Normed(NamedTuple):
    """A tensor that came out of a batch norm, as ``input * scale + shift``.

    The input is ``[T, M, C]`` if channels lie last in memory and ``[T, B*C, P]`` if positions do;
    the others broadcast to it.
    """

    input: Tensor
    scale: Tensor
    shift: Tensor


def came_out_of_norm(x: Tensor, time_steps: int) -> Normed | None:
    """Look up what autograd has kept of the batch norm that made `x`; None if there is nothing.

    Nothing is there behind another layer, behind a norm in evaluation or without weights of its
    own, and where hooks such as those of activation checkpointing store saved tensors elsewhere.

    Args:
        x: The input of a neuron, ``[T*B, ...]``.
        time_steps: The number of time steps T.
    """
    node: Any = x.grad_fn
    if node is None or node.name() != 'NativeBatchNormBackward0' or not node._saved_training:
        return None
    bias = getattr(node.next_functions[2][0], 'variable', None)
    names = ('input', 'result1', 'result2', 'weight')
    saved = [getattr(node, f'_raw_saved_{name}') for name in names]
    # Reading what hooks have stored would run them.
    if bias is None or any(getattr(one, 'unpack_hook', True) is not None for one in saved):
        return None
    source, mean, inverse_std, weight = (one.data for one in saved)
    channels_last = lies_channels_last(x)
    lie_alike = source.stride() == x.stride() and (channels_last or x.is_contiguous())
    if weight is None or not lie_alike:
        return None
    with torch.no_grad():
        scale = weight * inverse_std
        shift = bias - mean * scale
    source = source.detach()
    if channels_last or x.dim() == 2:
        source = source.permute(0, 2, 3, 1) if channels_last else source
        return Normed(source.reshape(time_steps, -1, source.shape[-1]), scale, shift)
    samples = len(x) // time_steps
    source = source.view(time_steps, samples * x.shape[1], -1)
    return Normed(source, *(value.repeat(samples).unsqueeze(1) for value in (scale, shift)))
