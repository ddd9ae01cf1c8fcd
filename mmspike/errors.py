"""The error that a user can mend."""


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
