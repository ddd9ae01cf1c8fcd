#!/usr/bin/env python3
"""Show where and how often a spiking network fires for one image."""

from mmspike.apis.cli import show_spikes
from mmspike.engine.cli import run_tool

if __name__ == '__main__':
    run_tool(show_spikes)
