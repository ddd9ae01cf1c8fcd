#!/usr/bin/env python3
"""Generate the synthetic shapes dataset (COCO layout)."""

import argparse

from mmspike.datasets.shapes import generate_shapes
from mmspike.engine.cli import run_tool


def main() -> None:
    """Read the command line and write the dataset."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('root', help='folder to write, new or empty')
    parser.add_argument('--num-train', type=int, default=800, help='training images')
    parser.add_argument('--num-val', type=int, default=100, help='validation images')
    parser.add_argument('--size', type=int, default=128, help='height and width in pixels')
    parser.add_argument('--seed', type=int, default=0, help='chooses another dataset')
    print(f'Shapes are in {generate_shapes(**vars(parser.parse_args()))}')


if __name__ == '__main__':
    run_tool(main)
