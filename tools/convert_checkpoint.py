#!/usr/bin/env python3
"""Convert a released Meta-SpikeFormer ImageNet checkpoint for ``init_cfg`` of a config."""

from mmspike.engine.cli import run_tool
from mmspike.engine.convert import convert

if __name__ == '__main__':
    run_tool(convert)
