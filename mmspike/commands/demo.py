"""Train a small model on generated shapes, and draw."""

import time
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmspike.checkpoint import latest_checkpoint
from mmspike.commands.console_log import quiet_console
from mmspike.commands.pictures import draw_predictions
from mmspike.commands.report import collect, describe_test
from mmspike.commands.report_page import read_pictures, write_page
from mmspike.commands.train import train
from mmspike.datasets import generate_shapes
from mmspike.errors import UserError
from mmspike.hosts import library_of


@dataclass(frozen=True)
class Demo:
    """What differs between the demos.

    Args:
        config: File in ``configs/``.
        model: Its name in a sentence.
        work_dir: Folder in ``work_dirs/``.
        say: Turns the metrics, and the scores of each class, into the lines to print.
        next_steps: What to do next.
    """

    config: str
    model: str
    work_dir: str
    say: Callable[[dict, dict], list[str]]
    next_steps: str


def demo(argv: Sequence[str] | None = None) -> None:
    """Generate the shapes, train, test, draw, and print how well it went and what to do next.

    Args:
        argv: The arguments; those of the process by default.

    Raises:
        UserError: If there is no demo of that name.
    """
    parser = ArgumentParser(
        description='Train a small spiking model on generated shapes, test it, and draw what it '
        'sees'
    )
    parser.add_argument(
        'name', nargs='?', default='instances', help=f'{", ".join(DEMOS)}; instances by default'
    )
    parser.add_argument('--data-root', default='data/shapes', help='folder of the shapes')
    parser.add_argument('--work-dir', help='folder of logs, checkpoints and pictures')
    parser.add_argument(
        '-v', '--verbose', action='store_true', help='show on the console all that the log gets'
    )
    args = parser.parse_args(argv)
    if args.name not in DEMOS:
        raise UserError(f"There is no demo '{args.name}'; name one of {', '.join(DEMOS)}.")
    demo = DEMOS[args.name]
    work_dir = Path(args.work_dir or Path('work_dirs', demo.work_dir))
    start = time.monotonic()
    generate_shapes(args.data_root)
    # The test behind it says what a validation would, class by class.
    options = [f'data_root={args.data_root}/', 'train_cfg.val_begin=1000000000']
    shown = ['--verbose'] if args.verbose else []
    with quiet_console(args.verbose):
        runner = train(
            [demo.config, '--work-dir', str(work_dir), *shown, '--cfg-options', *options]
        )
        classes = library_of(runner.cfg).score_classes(runner)
        metrics = runner.test()
        overview = draw_predictions(runner, work_dir / 'pictures')
        figures, pictures = collect(
            runner.cfg, latest_checkpoint(work_dir), demo.config, num_images=4
        )
        figures['test'] = describe_test(metrics, classes)
        pictures['predictions'] = read_pictures(overview.parent, 4)
        page = write_page(figures, pictures, work_dir / 'report.html')
    print(f'\nThe {demo.model}, after {(time.monotonic() - start) / 60:.1f} minutes:')
    print(*(f'  {line}' for line in demo.say(metrics, classes)), sep='\n')
    print(f'  pictures: {overview} (truth on the left, predictions on the right)')
    print(f'  report: {page} (open it in a browser: all of this, layer by layer)\n')
    print('What to do next, after `source .venv/bin/activate`:')
    print(demo.next_steps)


def _detection_lines(metrics: dict, classes: dict) -> list[str]:
    return [
        f'{kind}  mAP {metrics[f"coco/{kind}_mAP"]:.3f}   '
        f'mAP@50 {metrics[f"coco/{kind}_mAP_50"]:.3f}'
        for kind in ('bbox', 'segm')
        if f'coco/{kind}_mAP' in metrics
    ]


def _segmentation_lines(metrics: dict, classes: dict) -> list[str]:
    width = max(map(len, classes))
    return [
        f'mIoU {metrics["mIoU"]:.1f}   aAcc {metrics["aAcc"]:.1f}',
        *(f'IoU of {name:{width}}  {of["IoU"]:.1f}' for name, of in classes.items()),
    ]


DEMOS = dict(
    instances=Demo(
        config='mask_rcnn_metaspike-tiny_t1_shapes.py',
        model='spiking Mask R-CNN',
        work_dir='demo',
        say=_detection_lines,
        next_steps="""\
  boxes alone:     bash tools/demo.sh boxes
  label maps too:  bash tools/demo.sh segmentation
  your own data:   docs/first_hour.md has a config to copy
  COCO:            python tools/train.py configs/mask_rcnn_metaspike_coco.py --auto-scale-lr
  a bigger model:  the same with configs/mask_rcnn_metaspike-55m_t1_coco.py, on GPUs""",
    ),
    boxes=Demo(
        config='yolox_metaspike-tiny_t1_shapes.py',
        model='spiking YOLOX',
        work_dir='demo_boxes',
        say=_detection_lines,
        next_steps="""\
  masks too:       bash tools/demo.sh
  your own data:   docs/first_hour.md has a config to copy
  COCO:            python tools/train.py configs/yolox_metaspike_t1_coco.py --auto-scale-lr
  four steps:      the same with configs/yolox_metaspike_t4_coco.py, from the result of T = 1""",
    ),
    segmentation=Demo(
        config='semantic_fpn_metaspike-tiny_t1_shapes.py',
        model='spiking Semantic FPN',
        work_dir='demo_segmentation',
        say=_segmentation_lines,
        next_steps="""\
  instances too:   bash tools/demo.sh
  your own data:   docs/first_hour.md has a config to copy
  ADE20K:          python tools/train.py configs/semantic_fpn_metaspike_ade20k.py --auto-scale-lr
  a bigger model:  the same with configs/semantic_fpn_metaspike-55m_t1_ade20k.py, on GPUs""",
    ),
)
