#!/usr/bin/env python3
"""Generate the synthetic shapes dataset: instances, label maps and, for classification, crops."""

import argparse

from mmspike.commands.common import run_tool
from mmspike.datasets.shape_crops import cut_shapes
from mmspike.datasets.shapes import generate_shapes


def main() -> None:
    """Read the command line and write the dataset."""
    # What is not given is left to generate_shapes, the one place of the defaults.
    parser = argparse.ArgumentParser(description=__doc__, argument_default=argparse.SUPPRESS)
    parser.add_argument('root', help='folder to write, new or empty')
    parser.add_argument('--num-train', type=int, help='training images')
    parser.add_argument('--num-val', type=int, help='validation images')
    parser.add_argument('--size', type=int, help='height and width in pixels')
    parser.add_argument('--seed', type=int, help='chooses another dataset')
    parser.add_argument(
        '--crops', action='store_true', help='cut each object out too, for classification'
    )
    args = vars(parser.parse_args())
    crops = args.pop('crops', False)
    root = generate_shapes(**args)
    if crops:
        cut_shapes(root)
    print(f'Shapes are in {root}')


if __name__ == '__main__':
    run_tool(main)
