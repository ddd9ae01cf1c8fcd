#!/usr/bin/env python3
"""Train a small spiking Mask R-CNN on generated shapes, test it, and draw what it sees."""

import time
from argparse import ArgumentParser
from pathlib import Path

from mmspike.datasets import generate_shapes
from mmspike.engine.cli import run_tool, train
from mmspike.engine.pictures import draw_detections

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / 'configs' / 'mask_rcnn_metaspike-tiny_t1_shapes.py'
NEXT = """What to do next, after `source .venv/bin/activate`:
  your own data:   copy {config}; README.md says what to set
  COCO:            python tools/train.py configs/mask_rcnn_metaspike_coco.py --auto-scale-lr
  a bigger model:  the same with configs/mask_rcnn_metaspike-55m_t1_coco.py, on GPUs"""


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument('--data-root', default=ROOT / 'data' / 'shapes', type=Path)
    parser.add_argument('--work-dir', default=ROOT / 'work_dirs' / 'demo', type=Path)
    args = parser.parse_args()
    start = time.monotonic()
    generate_shapes(args.data_root)
    options = ['--work-dir', str(args.work_dir), '--cfg-options', f'data_root={args.data_root}/']
    runner = train([str(CONFIG), *options])
    metrics = runner.test()
    overview = draw_detections(runner, args.work_dir / 'pictures')
    print(f'\nThe spiking Mask R-CNN, after {(time.monotonic() - start) / 60:.1f} minutes:')
    for kind in ('bbox', 'segm'):
        mean, at_50 = (metrics[f'coco/{kind}_mAP{suffix}'] for suffix in ('', '_50'))
        print(f'  {kind}  mAP {mean:.3f}   mAP@50 {at_50:.3f}')
    print(f'  pictures: {overview} (truth on the left, predictions on the right)\n')
    print(NEXT.format(config=CONFIG.relative_to(ROOT)))


if __name__ == '__main__':
    run_tool(main)
