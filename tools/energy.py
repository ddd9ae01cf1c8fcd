#!/usr/bin/env python3
"""Estimate the energy of a spiking model, layer by layer."""

from mmspike.apis.energy import energy
from mmspike.engine.cli import run_tool

if __name__ == '__main__':
    run_tool(energy)
