#!/usr/bin/env python3
"""Test a model of mmdet, mmseg or mmpretrain."""

from mmspike.engine.cli import run_tool, test

if __name__ == '__main__':
    run_tool(test)
