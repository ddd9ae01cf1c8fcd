#!/usr/bin/env python3
"""Train a model of mmdet, mmseg or mmpretrain."""

from mmspike.engine.cli import run_tool, train

if __name__ == '__main__':
    run_tool(train)
