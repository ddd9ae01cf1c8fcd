"""Train a small model on generated shapes, and draw."""

import time
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmengine.runner import Runner

from mmspike.commands.console_log import quiet_console
from mmspike.commands.pictures import draw_predictions
from mmspike.commands.train import train
from mmspike.datasets import generate_shapes
from mmspike.errors import UserError


@dataclass(frozen=True)
class Demo:
    """What differs between the demos.

    Args:
        config: File in ``configs/``.
        model: Its name in a sentence.
        work_dir: Folder in ``work_dirs/``.
        test: Tests a runner and returns the lines to print.
        next_steps: What to do next.
    """

    config: str
    model: str
    work_dir: str
    test: Callable[[Runner], list[str]]
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
        lines = demo.test(runner)
        overview = draw_predictions(runner, work_dir / 'pictures')
    print(f'\nThe {demo.model}, after {(time.monotonic() - start) / 60:.1f} minutes:')
    print(*(f'  {line}' for line in lines), sep='\n')
    print(f'  pictures: {overview} (truth on the left, predictions on the right)\n')
    print('What to do next, after `source .venv/bin/activate`:')
    print(demo.next_steps)


def _test_detection(runner: Runner) -> list[str]:
    metrics = runner.test()
    return [
        f'{kind}  mAP {metrics[f"coco/{kind}_mAP"]:.3f}   '
        f'mAP@50 {metrics[f"coco/{kind}_mAP_50"]:.3f}'
        for kind in ('bbox', 'segm')
        if f'coco/{kind}_mAP' in metrics
    ]


def _test_segmentation(runner: Runner) -> list[str]:
    from mmseg.evaluation import IoUMetric

    class ClassIoUMetric(IoUMetric):
        """Returns the IoU of every class, which the stock metric only prints."""

        def compute_metrics(self, results: list) -> dict[str, float]:
            intersection, union, *_ = (sum(areas) for areas in zip(*results, strict=True))
            iou = (100 * intersection / union).tolist()
            return dict(zip(self.dataset_meta['classes'], iou, strict=True))

    metric = ClassIoUMetric(prefix='IoU')
    metric.dataset_meta = runner.test_dataloader.dataset.metainfo
    runner.test_evaluator.metrics.append(metric)
    metrics = runner.test()
    classes = metric.dataset_meta['classes']
    width = max(map(len, classes))
    return [
        f'mIoU {metrics["mIoU"]:.1f}   aAcc {metrics["aAcc"]:.1f}',
        *(f'IoU of {name:{width}}  {metrics[f"IoU/{name}"]:.1f}' for name in classes),
    ]


DEMOS = dict(
    instances=Demo(
        config='mask_rcnn_metaspike-tiny_t1_shapes.py',
        model='spiking Mask R-CNN',
        work_dir='demo',
        test=_test_detection,
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
        test=_test_detection,
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
        test=_test_segmentation,
        next_steps="""\
  instances too:   bash tools/demo.sh
  your own data:   docs/first_hour.md has a config to copy
  ADE20K:          python tools/train.py configs/semantic_fpn_metaspike_ade20k.py --auto-scale-lr
  a bigger model:  the same with configs/semantic_fpn_metaspike-55m_t1_ade20k.py, on GPUs""",
    ),
)
