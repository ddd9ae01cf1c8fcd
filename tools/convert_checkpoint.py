#!/usr/bin/env python3
"""Convert a released Meta-SpikeFormer ImageNet checkpoint for ``init_cfg`` of a config."""

from mmspike.console import run

if __name__ == '__main__':
    run('convert')
