#!/usr/bin/env python3
"""Prove that every weight layer and matrix product of a model sees spikes only."""

from mmspike.apis.spike_driven import check_spike_driven
from mmspike.engine.cli import run_tool

if __name__ == '__main__':
    run_tool(check_spike_driven)
