"""One process of test_distributed: train, then save what this rank holds."""

import sys
from pathlib import Path

import torch

from mmspike.commands.common import run_tool
from mmspike.commands.train import train


def main() -> None:
    folder, *argv = sys.argv[1:]
    runner = train(argv)
    torch.save(runner.model.module.state_dict(), Path(folder) / f'rank{runner.rank}.pth')


if __name__ == '__main__':
    run_tool(main)
