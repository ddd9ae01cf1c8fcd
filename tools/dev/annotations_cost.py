"""Measure what looking at annotations costs: prepare a generated COCO file with and without checks.

    python tools/dev/annotations_cost.py --images 100000 --objects 8

Each way runs in a process of its own, one after the other, and prints seconds and the most memory
that it held. With checks a run may take at most 1.2 times as long and 1.3 times the memory.
"""

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WAYS = ('without', 'with')


def main() -> None:
    """Generate the file, run both ways, and print their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--images', type=int, default=100_000)
    parser.add_argument('--objects', type=int, default=8, help='in each image')
    parser.add_argument('--repeat', type=int, default=1, help='the quickest of so many runs counts')
    parser.add_argument('--one', nargs=2, metavar=('WAY', 'FOLDER'), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        prepare(*args.one)
        return
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder), args.images, args.objects)
        best = {}
        for way in WAYS * args.repeat:
            command = [sys.executable, __file__, '--one', way, folder]
            told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            seconds, memory = map(float, told.splitlines()[-1].split())
            print(f'{way:8} checks: {seconds:6.1f} s, {memory:6.0f} MB', flush=True)
            best[way] = min(best.get(way, (seconds, memory)), (seconds, memory))
    (slow, large), (quick, small) = best['with'], best['without']
    print(f'ratio: {slow / quick:.2f} of the time, {large / small:.2f} of the memory')


def generate(folder: Path, images: int, objects: int) -> None:
    """Write an annotation file with polygons, and the empty files that it names."""
    rng = random.Random(0)
    size = dict(width=640, height=480)
    told: dict[str, list] = dict(images=[], annotations=[], categories=[])
    told['categories'] = [dict(id=i, name=f'class {i}') for i in range(1, 81)]
    (folder / 'images').mkdir()
    for image in range(1, images + 1):
        name = f'{image:012d}.jpg'
        (folder / 'images' / name).write_bytes(b'-')
        told['images'].append(dict(id=image, file_name=name, **size))
        for _ in range(objects):
            x, y, w, h = rng.randint(0, 400), rng.randint(0, 300), rng.randint(9, 99), 60
            polygon = [rng.uniform(x, x + w) for _ in range(40)]
            told['annotations'].append(
                dict(
                    id=len(told['annotations']) + 1,
                    image_id=image,
                    category_id=rng.randint(1, 80),
                    bbox=[x, y, w, h],
                    area=w * h / 2,
                    iscrowd=0,
                    segmentation=[polygon],
                )
            )
    (folder / 'told.json').write_text(json.dumps(told))


def prepare(way: str, folder: str) -> None:
    """Build the dataset as training does, and print seconds and megabytes."""
    from mmdet.datasets import CocoDataset
    from mmdet.datasets.transforms import LoadAnnotations
    from mmengine.config import ConfigDict
    from torch.utils.data import DataLoader

    from mmspike.checks.data import build_dataset
    from mmspike.datasets.coco import CocoDataset as CheckedCocoDataset

    kind = CheckedCocoDataset if way == 'with' else CocoDataset
    dataset = dict(
        type=kind,
        data_root=folder,
        ann_file='told.json',
        data_prefix=dict(img='images'),
        metainfo=dict(classes=tuple(f'class {i}' for i in range(1, 81))),
        filter_cfg=dict(filter_empty_gt=True, min_size=32),
        pipeline=[LoadAnnotations(with_mask=True)],
    )

    def build() -> DataLoader:
        options = {**dataset}
        del options['type']
        return DataLoader(kind(**options))

    start = time.perf_counter()
    if way == 'with':
        build_dataset(build, ConfigDict(dataset=dataset), 'train')
    else:
        build()
    seconds = time.perf_counter() - start
    print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


if __name__ == '__main__':
    main()
