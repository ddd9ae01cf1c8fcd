#!/usr/bin/env python3
"""Show what a model of mmdet, mmseg or mmpretrain finds in images, folders and videos."""

from mmspike.commands.main import run

if __name__ == '__main__':
    run('infer')
