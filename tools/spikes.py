#!/usr/bin/env python3
"""Show where and how often a spiking network fires for one image."""

from mmspike.commands.main import run

if __name__ == '__main__':
    run('spikes')
