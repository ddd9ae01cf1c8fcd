#!/usr/bin/env python3
"""Test a model of mmdet, mmseg or mmpretrain."""

from mmspike.commands.main import run

if __name__ == '__main__':
    run('test')
