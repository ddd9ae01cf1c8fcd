"""The error that a user can mend."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches


class UserError(ValueError):
    """Something in a command, a config or a file that its user can mend.

    Its message is one sentence on one line that names the value, what was expected and the way
    out; the tools print it alone and end with exit code 1. Every other error keeps its traceback.
    """

    @property
    def sentence(self) -> str:
        """The sentence alone, also after a DataLoader worker has wrapped it in its traceback."""
        last = str(self).strip().splitlines()[-1]
        return last.rpartition(f'{type(self).__qualname__}: ')[2]


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Ask in brackets for the names most like a misspelt one; empty if none is.

    Args:
        name: The misspelt name.
        names: The right ones; a mapping gives what to show for each.
    """
    shown = names if isinstance(names, Mapping) else {right: right for right in names}
    # Upper and lower case are mixed up often, and difflib takes them for other letters.
    lower = {right.lower(): shown[right] for right in sorted(shown)}
    near = get_close_matches(name.lower(), lower, n=2, cutoff=0.65)
    return f' (did you mean {" or ".join(lower[match] for match in near)}?)' if near else ''
