"""The base of mixins that stand before a stock module: to a type checker a module, else nothing."""

from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    ModuleMixin = nn.Module
else:
    ModuleMixin = object
