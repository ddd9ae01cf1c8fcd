#!/usr/bin/env python3
"""Convert a released ImageNet checkpoint, to test it with a config."""

from mmspike.commands.main import run

if __name__ == '__main__':
    run('convert')
