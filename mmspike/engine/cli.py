"""The old place of the commands train and test, for one release: see `mmspike.commands`."""

from mmspike.commands.common import run_tool
from mmspike.commands.test import test
from mmspike.commands.train import train

__all__ = ['run_tool', 'test', 'train']
