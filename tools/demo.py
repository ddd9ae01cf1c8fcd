#!/usr/bin/env python3
"""Train a small spiking model on generated shapes, test it, and draw what it sees."""

from mmspike.commands.main import run

if __name__ == '__main__':
    run('demo')
