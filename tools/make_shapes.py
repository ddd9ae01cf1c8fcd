#!/usr/bin/env python3
"""Generate the synthetic shapes dataset, with instances (COCO) and label maps (mmseg)."""

import argparse

from mmspike.datasets.shapes import generate_shapes
from mmspike.engine.cli import run_tool


def main() -> None:
    """Read the command line and write the dataset."""
    # What is not given is left to generate_shapes, the one place of the defaults.
    parser = argparse.ArgumentParser(description=__doc__, argument_default=argparse.SUPPRESS)
    parser.add_argument('root', help='folder to write, new or empty')
    parser.add_argument('--num-train', type=int, help='training images')
    parser.add_argument('--num-val', type=int, help='validation images')
    parser.add_argument('--size', type=int, help='height and width in pixels')
    parser.add_argument('--seed', type=int, help='chooses another dataset')
    print(f'Shapes are in {generate_shapes(**vars(parser.parse_args()))}')


if __name__ == '__main__':
    run_tool(main)
