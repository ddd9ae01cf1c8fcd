#!/usr/bin/env python3
"""Convert a released Meta-SpikeFormer ImageNet checkpoint for ``init_cfg`` of a config."""

from argparse import ArgumentParser

from mmspike.engine.cli import run_tool
from mmspike.engine.convert import convert_checkpoint


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument('source', help='released checkpoint')
    parser.add_argument('target', help='file to write')
    args = parser.parse_args()
    convert_checkpoint(args.source, args.target)
    print(
        f"Wrote {args.target}; use it with init_cfg=dict(type='Pretrained', "
        f"checkpoint='{args.target}', prefix='backbone.')"
    )


if __name__ == '__main__':
    run_tool(main)
