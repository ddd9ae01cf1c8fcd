"""Base class of mixins before a stock module: nn.Module to type checkers, object at run time."""

from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    ModuleMixin = nn.Module
else:
    ModuleMixin = object
