#!/usr/bin/env python3
"""Time models side by side, in turn."""

from mmspike.apis.benchmark import benchmark
from mmspike.engine.cli import run_tool

if __name__ == '__main__':
    run_tool(benchmark)
