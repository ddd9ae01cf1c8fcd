#!/usr/bin/env python3
"""Estimate the energy of a spiking model, layer by layer."""

from mmspike.commands.main import run

if __name__ == '__main__':
    run('energy')
