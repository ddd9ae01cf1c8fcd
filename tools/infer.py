#!/usr/bin/env python3
"""Show what a model of mmdet, mmseg or mmpretrain finds in images, folders and videos."""

from mmspike.apis.cli import infer
from mmspike.engine.cli import run_tool

if __name__ == '__main__':
    run_tool(infer)
