"""One process of test_distributed: train, then save what this rank holds."""

import sys
from pathlib import Path

import cli
import torch


def main() -> None:
    folder, *argv = sys.argv[1:]
    runner = cli.train(argv)
    torch.save(runner.model.module.state_dict(), Path(folder) / f'rank{runner.rank}.pth')


if __name__ == '__main__':
    cli.run_tool(main)
