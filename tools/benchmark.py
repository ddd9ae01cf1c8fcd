#!/usr/bin/env python3
"""Time models side by side, in turn."""

from mmspike.commands.main import run

if __name__ == '__main__':
    run('benchmark')
