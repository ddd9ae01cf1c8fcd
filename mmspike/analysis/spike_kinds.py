"""What the values of a tensor are: nothing, spikes, counts of spikes, or analog."""

from torch import Tensor

SILENT, SPIKES, INTEGERS, ANALOG = 'silent', 'spikes', 'integers', 'analog'
KINDS = (SILENT, SPIKES, INTEGERS, ANALOG)  # From the least to the most that was seen.


def kind_of(x: Tensor) -> str:
    """Tell what the values of a tensor are.

    Returns:
        ``'silent'`` (0 alone, or no values), ``'spikes'`` (0 and 1), ``'integers'`` (0, 1, 2, ...,
        counts of spikes), or ``'analog'``.
    """
    if not bool(x.any()):
        return SILENT
    if bool(((x == 0) | (x == 1)).all()):
        return SPIKES
    return INTEGERS if bool(((x == x.round()) & (x >= 0)).all()) else ANALOG
