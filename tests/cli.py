"""The commands that most tests call, under one name."""

from mmspike.commands.common import run_tool
from mmspike.commands.test import test
from mmspike.commands.train import train

__all__ = ['run_tool', 'test', 'train']
