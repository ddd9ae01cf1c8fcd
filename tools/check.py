#!/usr/bin/env python3
"""Prove that every weight layer and matrix product of a model sees spikes only."""

from mmspike.commands.main import run

if __name__ == '__main__':
    run('check')
