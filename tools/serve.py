#!/usr/bin/env python3
"""Try a trained spiking model in a browser."""

from mmspike.commands.main import run

if __name__ == '__main__':
    run('serve')
