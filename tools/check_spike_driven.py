#!/usr/bin/env python3
"""Prove that every weight layer and matrix product of a model sees spikes only."""

from mmspike.console import run

if __name__ == '__main__':
    run('check')
