#!/usr/bin/env python3
"""Convert a released Meta-SpikeFormer ImageNet checkpoint, to test it with a config."""

from mmspike.engine.cli import run_tool
from mmspike.engine.convert import convert

if __name__ == '__main__':
    run_tool(convert)
