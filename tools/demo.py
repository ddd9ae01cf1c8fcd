#!/usr/bin/env python3
"""Train a small spiking model on generated shapes, test it, and draw what it sees."""

from argparse import ArgumentParser
from pathlib import Path

from mmspike.engine.cli import run_tool
from mmspike.engine.demos import DEMOS, run_demo

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument(
        'name', nargs='?', default='instances', help=f'{" or ".join(DEMOS)}; instances by default'
    )
    parser.add_argument('--data-root', type=Path, help='folder of the shapes')
    parser.add_argument('--work-dir', type=Path, help='folder of logs, checkpoints and pictures')
    parser.add_argument(
        '-v', '--verbose', action='store_true', help='show on the console all that the log gets'
    )
    args = parser.parse_args()
    run_demo(args.name, ROOT, args.data_root, args.work_dir, args.verbose)


if __name__ == '__main__':
    run_tool(main)
