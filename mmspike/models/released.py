"""Checkpoints that authors released, in the names of the backbones here."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor

from mmspike.errors import UserError
from mmspike.registry import MODELS


@dataclass(frozen=True)
class ReleasedNames:
    """How a network's released classifiers name their parameters, and where they are.

    A backbone has it as the class attribute ``released``.

    Args:
        network: What the network is called.
        mark: A pattern that the beginning of a name matches in every file of this network.
        foreign: A pattern of names that only files of another network have beside `mark`.
        renames: Patterns and what takes their place, in order; each is tried on what the one before
            it left. The results begin with ``backbone.`` or ``head.``.
        source: Where the files are.
        config: The config that pretrains the backbone, with a place for its ``{size}``.
    """

    network: str
    mark: str
    renames: tuple[tuple[str, str | Callable[[re.Match], str]], ...]
    source: str
    config: str
    foreign: str | None = None

    def recognizes(self, names: Iterable[str]) -> bool:
        """Tell whether parameters have the names of a file of this network."""
        names = list(names)
        if self.foreign and any(re.match(self.foreign, name) for name in names):
            return False
        return any(re.match(self.mark, name) for name in names)

    def convert_name(self, name: str) -> str:
        """Translate the name of one parameter.

        Raises:
            UserError: If a released classifier has no such parameter.
        """
        converted = name
        for pattern, replacement in self.renames:
            converted = re.sub(pattern, replacement, converted)
        if converted == name or not converted.startswith(('backbone.', 'head.')):
            raise UserError(
                f'{name!r} is not a parameter of a released {self.network} classifier: is this '
                'another checkpoint, or one that was converted already?'
            )
        return converted

    def convert_state_dict(self, released: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Translate a state dict: names, and 1-d convolutions to pointwise ones.

        Raises:
            UserError: If it holds a name that a released classifier does not have.
        """
        return {
            self.convert_name(name): value.unsqueeze(-1) if value.dim() == 3 else value
            for name, value in released.items()
        }


def find_released(names: Iterable[str]) -> ReleasedNames | None:
    """Ask the registered backbones whose released names these are; None if they are nobody's."""
    names = list(names)
    known = (getattr(cls, 'released', None) for cls in MODELS.module_dict.values())
    return next((r for r in known if r is not None and r.recognizes(names)), None)
