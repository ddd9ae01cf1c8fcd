"""Use what autograd has saved for a batch norm once more, in place of what came out of it."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..base import lies_channels_last
from ..compact import again, set_compact


class Normed(NamedTuple):
    """A tensor that came out of a batch norm, as ``input * scale + shift``.

    The input is ``[T, M, C]`` if channels lie last in memory and ``[T, B*C, P]`` if positions do;
    the others broadcast to it.
    """

    input: Tensor
    scale: Tensor
    shift: Tensor


def _read(x: Tensor, hooked: bool = False) -> tuple[Any, Tensor, Tensor] | None:
    """Read what the batch norm that made `x` has saved: input, and scale and shift ``[C]``.

    None behind another layer or a change in place, behind a norm in evaluation or without weights
    of its own, and where hooks such as those of activation checkpointing store saved tensors
    elsewhere. With `hooked` they are those of `compactly`, which may hold the input alone.
    """
    node: Any = x.grad_fn
    if (
        node is None
        or x._version
        or node.name() != 'NativeBatchNormBackward0'
        or not node._saved_training
    ):
        return None
    bias = getattr(node.next_functions[2][0], 'variable', None)
    names = ('input', 'result1', 'result2', 'weight')
    saved = [getattr(node, f'_raw_saved_{name}') for name in names]
    # Reading what hooks have stored would run them; an older torch does not tell.
    hooks = [getattr(one, 'unpack_hook', True) for one in saved]
    if bias is None or True in hooks or (not hooked and hooks != [None] * len(hooks)):
        return None
    source, mean, inverse_std, weight = (one.data for one in saved)
    if not all(isinstance(one, Tensor) for one in (mean, inverse_std, weight)):
        return None
    with torch.no_grad():
        scale = weight * inverse_std
        shift = bias - mean * scale
    return source, scale, shift


def came_out_of_norm(x: Tensor, time_steps: int) -> Normed | None:
    """Look up what autograd has kept of the batch norm that made `x`; None if there is nothing.

    Nothing is there behind another layer, behind a norm in evaluation or without weights of its
    own, and where hooks such as those of activation checkpointing store saved tensors elsewhere.

    Args:
        x: The input of a neuron, ``[T*B, ...]``.
        time_steps: The number of time steps T.
    """
    read = _read(x)
    if read is None:
        return None
    source, scale, shift = read
    channels_last = lies_channels_last(x)
    lie_alike = source.stride() == x.stride() and (channels_last or x.is_contiguous())
    if not lie_alike:
        return None
    source = source.detach()
    if channels_last or x.dim() == 2:
        source = source.permute(0, 2, 3, 1) if channels_last else source
        return Normed(source.reshape(time_steps, -1, source.shape[-1]), scale, shift)
    samples = len(x) // time_steps
    source = source.view(time_steps, samples * x.shape[1], -1)
    return Normed(source, *(value.repeat(samples).unsqueeze(1) for value in (scale, shift)))


def compact_norm(x: Tensor, out: Tensor) -> Tensor:
    """Let the result of a batch norm be computed again from its input, or from that one's form.

    Args:
        x: The input, ``[N, C, H, W]``.
        out: The result, which gets the compact form.

    Returns:
        The result.
    """
    form: Any = again(x)
    read = _read(out, hooked=form is not None)
    if read is None:
        return out
    source, scale, shift = read
    if isinstance(source, Tensor):
        form = source.detach
    scale, shift, dtype = scale.view(1, -1, 1, 1), shift.view(1, -1, 1, 1), out.dtype

    def normalize() -> Tensor:
        return torch.addcmul(shift, form(), scale).to(dtype)

    return set_compact(out, lambda _: normalize)
