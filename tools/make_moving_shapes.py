#!/usr/bin/env python3
"""Generate the dataset of moving shapes: event files in folders named by the direction."""

import argparse

from mmspike.commands.common import run_tool
from mmspike.datasets.moving_shapes import generate_moving_shapes


def main() -> None:
    """Read the command line and write the dataset."""
    # What is not given is left to generate_moving_shapes, the one place of the defaults.
    parser = argparse.ArgumentParser(description=__doc__, argument_default=argparse.SUPPRESS)
    parser.add_argument('root', help='folder to write, new or empty')
    parser.add_argument('--num-train', type=int, help='training samples')
    parser.add_argument('--num-val', type=int, help='validation samples')
    parser.add_argument('--size', type=int, help='width and height of the sensor in pixels')
    parser.add_argument('--seed', type=int, help='chooses another dataset')
    print(f'Moving shapes are in {generate_moving_shapes(**vars(parser.parse_args()))}')


if __name__ == '__main__':
    run_tool(main)
