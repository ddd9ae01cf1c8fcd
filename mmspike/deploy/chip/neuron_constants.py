"""What a chip must know of a neuron: its equation, its unit, and the thresholds in it."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmspike.deploy.int8 import FRACTION_BITS, fraction_bits
from mmspike.errors import UserError
from mmspike.neurons import ILIF, LIF


def describe_neuron(neuron: Any, input_bits: int | None) -> dict:
    r"""Say what ``graph.json`` says of a neuron.

    Its potentials are whole numbers of ``2**-potential_bits``: the unit of the input, finer by what
    each leak shifts. None is no such unit, as of an input that is none or a leak that is no sum of
    powers of two.

    .. math::
        U[t] = V_{rest} + keep\,(V[t-1] - V_{rest}) + X[t] / divide

    Args:
        neuron: The neuron, in the int8 form.
        input_bits: The unit of its input, likewise.

    Raises:
        UserError: If the equation is none of LIF, PLIF, ILIF and NILIF.
    """
    steps = neuron.time_steps
    if isinstance(neuron, ILIF):
        keep, divide, subtracts = neuron.decay, 1.0, True
    elif isinstance(neuron, LIF):
        keep, divide = 1 - 1 / neuron.tau, neuron.tau if neuron.decay_input else 1.0
        subtracts = neuron.v_reset is None
    else:
        raise UserError(
            f'the network has a {type(neuron).__name__}, but the format chip has the equations of '
            'LIF, PLIF, ILIF and NILIF alone; use one of them.'
        )
    shifts = [fraction_bits(keep)] * (steps - 1) + [fraction_bits(1 / divide)]
    bits = None
    if input_bits is not None and None not in shifts:
        adds = getattr(neuron, 'v_reset', None) or (subtracts and steps > 1)
        bits = max(input_bits, FRACTION_BITS) if adds else input_bits
        bits += sum(shift or 0 for shift in shifts)
    said = dict(levels=neuron.levels, keep=keep, divide=divide, subtracts=subtracts)
    return {'kind': type(neuron).__name__, 'time_steps': steps, **said, 'potential_bits': bits}


def constants(neuron: Any, bits: int | None) -> dict[str, NDArray]:
    r"""Give the potentials that a neuron compares with, rests at, and subtracts for a spike.

    A spike fires at the smallest potential of its threshold or above. A LIF fires at
    :math:`\theta`; the spike k of an integer neuron where U / theta rounds to k or more, at
    :math:`(k - 1/2) \theta`, and above it for an odd k, since ties round to even.

    Args:
        neuron: The neuron.
        bits: The unit of its potentials: then all are whole numbers of it. None gives real ones.

    Shape:
        - thresholds: ``[levels]``
        - rest, reset: one number
    """
    theta, unit = float(neuron.v_threshold), 2.0 ** (bits or 0)
    found: list[float] = []
    for k in range(1, neuron.levels + 1):
        integer = isinstance(neuron, ILIF)
        at, above = ((k - 0.5) * theta, k % 2 == 1) if integer else (theta, False)
        if bits is None:
            found.append(np.nextafter(at, np.inf) if above else at)
        else:
            found.append(math.floor(at * unit) + 1 if above else math.ceil(at * unit))
    kind: Any = np.float64 if bits is None else np.int64
    rest = (getattr(neuron, 'v_reset', None) or 0.0) * unit
    reset = theta * unit if bits is None else round(theta * unit)
    return {
        name: np.array(value, kind)
        for name, value in (('thresholds', found), ('rest', rest), ('reset', reset))
    }
