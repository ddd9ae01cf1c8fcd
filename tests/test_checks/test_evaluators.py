"""What COCO's evaluation reads as something else is set right, warned of, or refused before."""

import json
import logging
from copy import deepcopy
from types import SimpleNamespace

import numpy as np
import pytest
import torch

pytest.importorskip('mmdet', reason='the metric of COCO is of mmdet')
from mmdet.evaluation import CocoMetric as StockCocoMetric  # noqa: E402
from mmengine.config import ConfigDict  # noqa: E402
from mmengine.logging import MMLogger  # noqa: E402
from mmengine.registry import METRICS, DefaultScope  # noqa: E402
from pycocotools import mask as masks  # noqa: E402

from mmspike.checks.evaluators import check_evaluators  # noqa: E402
from mmspike.errors import UserError  # noqa: E402
from mmspike.hooks.coco_metric import CocoMetric  # noqa: E402

SQUARE = [[2, 2, 14, 2, 14, 14, 2, 14]]


def grid(count, first_id=1, **changes):
    """The content of a file of one picture with squares of one class."""
    boxes = [[i % 15 * 20 + 2, i // 15 * 20 + 2, 12, 12] for i in range(count)]
    fixed = dict(image_id=1, category_id=1, area=144, iscrowd=0, segmentation=SQUARE)
    return dict(
        images=[dict(id=1, file_name='a.png', width=320, height=320)],
        annotations=[
            {**fixed, 'id': first_id + i, 'bbox': box, **changes} for i, box in enumerate(boxes)
        ],
        categories=[dict(id=1, name='cell')],
    )


@pytest.fixture
def metric(tmp_path):
    """Write a file, and build a metric that reads it."""

    def build(told, kind=CocoMetric, name='told.json', **options):
        (tmp_path / name).write_text(json.dumps(told))
        return kind(**{'ann_file': str(tmp_path / name), 'metric': 'bbox', **options})

    build.folder = tmp_path
    return build


@pytest.fixture
def warnings():
    records = []
    handler = logging.Handler(level=logging.WARNING)
    handler.emit = lambda record: records.append(record.getMessage())
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    yield records
    logger.removeHandler(handler)


def evaluate(metric, told, classes=('cell',), label=0):
    """Score predictions that are the truth."""
    metric.dataset_meta = dict(classes=classes)
    boxes = torch.tensor([a['bbox'] for a in told['annotations']], dtype=torch.float)
    boxes[:, 2:] += boxes[:, :2]
    count = len(boxes)
    found = dict(
        bboxes=boxes,
        scores=torch.linspace(0.9, 0.5, count),
        labels=torch.full((count,), label),
    )
    metric.process({}, [dict(img_id=1, ori_shape=(320, 320), pred_instances=found)])
    return metric.evaluate(1)


def without(key, told):
    for annotation in told['annotations']:
        annotation.pop(key)
    return told


@pytest.mark.parametrize(
    'told',
    [
        grid(2),
        grid(2, first_id=0),
        grid(2, id='a'),
        without('iscrowd', grid(2)),
        without('id', grid(2)),
        grid(2, iscrowd=None),
        grid(2, area=0),
    ],
)
def test_all_found_is_a_map_of_1(metric, told):
    assert evaluate(metric(deepcopy(told)), told)['coco/bbox_mAP'] == 1


def test_what_the_stock_metric_does(metric):
    """The reasons: an object of id 0 counts as not found, and none is read without iscrowd."""
    told = grid(2, first_id=0)
    assert evaluate(metric(told, StockCocoMetric), told)['coco/bbox_mAP'] < 0.6
    told = without('iscrowd', grid(2))
    with pytest.raises(KeyError, match='iscrowd'):
        evaluate(metric(told, StockCocoMetric), told)


@pytest.mark.parametrize(
    'categories, classes',
    [
        ([(7, 'cell'), (3, 'dot')], ('cell', 'dot')),
        ([(7, 'dot'), (3, 'cell')], ('cell', 'dot')),
        ([(3, 'Cell '), (7, 'dot')], ('dot', 'rod', 'cell')),
    ],
)
def test_categories_are_matched_by_name(metric, categories, classes):
    """The cells are found and the dots are not, whatever the order of ids, categories, classes."""
    ids = {name.strip().lower(): id for id, name in categories}
    told = grid(5, category_id=ids['cell'])
    told['annotations'][-1]['category_id'] = ids['dot']
    told['categories'] = [dict(id=id, name=name) for id, name in categories]
    built = metric(told, classwise=True)
    label = classes.index('cell')
    for _ in range(2):  # After each epoch.
        scores = evaluate(built, {'annotations': told['annotations'][:4]}, classes, label)
        of_classes = {name: scores[f'coco/{name}_precision'] for name in classes}
        right = dict(cell=1, dot=0, rod=np.nan)  # There is no rod.
        assert of_classes == pytest.approx({name: right[name] for name in classes}, nan_ok=True)
        assert scores['coco/bbox_mAP'] == 0.5


def twice(told):
    """Each picture and each object again, under other ids, and a part of the objects there."""
    told['images'].append({**told['images'][0], 'id': 2})
    told['annotations'][0]['image_id'] = 2
    told['annotations'] += deepcopy(told['annotations'])
    return told


@pytest.mark.parametrize('pictures', [[1], [1, 2]])
def test_what_stands_twice_counts_once(metric, pictures):
    """Whether the dataset hands out the second entry of the picture or not."""
    built = metric(twice(grid(3)))
    built.dataset_meta = dict(classes=('cell',))
    boxes = torch.tensor([a['bbox'] for a in grid(3)['annotations']], dtype=torch.float)
    boxes[:, 2:] += boxes[:, :2]
    for id in pictures:
        found = dict(bboxes=boxes, scores=torch.ones(3), labels=torch.zeros(3).long())
        built.process({}, [dict(img_id=id, ori_shape=(320, 320), pred_instances=found)])
    assert built.evaluate(len(pictures))['coco/bbox_mAP'] == 1


def test_more_objects_than_map_counts(metric, warnings):
    told = grid(150)
    assert evaluate(metric(told), told)['coco/bbox_mAP'] == pytest.approx(100 / 150, abs=0.01)
    (text,) = warnings
    assert "'a.png' has 150 objects" in text and 'counts the 100 surest' in text
    metric(grid(100)), metric(told, metric='proposal')
    assert len(warnings) == 1


@pytest.mark.parametrize('numbers', [(1, 10, 500), (500,), (100, 300), (1000, 300, 100)])
def test_proposal_nums(metric, numbers):
    with pytest.raises(UserError, match=r'proposal_nums of the evaluator is \(.*three numbers'):
        metric(grid(2), proposal_nums=numbers)
    if len(numbers) < 3:
        metric(grid(2), metric='proposal_fast', proposal_nums=numbers)


def test_thresholds_as_a_list(metric):
    told = grid(2)
    scores = evaluate(metric(told, iou_thrs=[0.5, 0.75]), told)
    assert scores['coco/bbox_mAP_50'] == scores['coco/bbox_mAP_75'] == 1
    assert metric(told, iou_thrs=0.5).iou_thrs == np.array([0.5])


@pytest.mark.parametrize(
    'changes, text',
    [
        (dict(segmentation=[]), 'has no segmentation, which the metric segm needs'),
        (dict(segmentation=[[1, 2, 3, 4]]), 'has no segmentation'),
        (dict(area=None), 'no number as its area'),
        (dict(segmentation=dict(size=[9, 9], counts=[0, 81])), r'an RLE mask of the size \[9, 9\]'),
    ],
)
def test_what_only_the_evaluation_reads(metric, changes, text):
    with pytest.raises(UserError, match=f'An annotation of picture 1 .*{text}'):
        metric(grid(2, **changes), metric=['bbox', 'segm'])


def test_masks_are_those_of_the_dataset(metric):
    """Polygons through pixel centres, as OpenCV traces them."""
    told = grid(2)
    for annotation in told['annotations']:
        x, y, width, height = annotation['bbox']
        right, low = x + width - 1, y + height - 1
        annotation['segmentation'] = [[x, y, right, y, right, low, x, low]]
    coco = metric(told, metric='segm')._coco_api
    assert [coco.annToMask(one).sum() for one in coco.anns.values()] == [144, 144]
    coco = metric(told, metric='bbox')._coco_api
    assert [coco.annToMask(one).sum() for one in coco.anns.values()] == [121, 121]


def test_nothing_to_score(metric):
    """The stock metric gives -1 for each figure."""
    told = {**grid(1), 'annotations': []}
    with pytest.raises(UserError, match='has no annotation, so there is nothing to score; give'):
        metric(told)
    metric(told, format_only=True, outfile_prefix=str(metric.folder / 'found'))


def test_it_is_found_by_its_name(metric):
    metric(grid(1))
    with DefaultScope.overwrite_default_scope('mmdet'):
        built = METRICS.build(
            dict(type='mmspike.CocoMetric', ann_file=str(metric.folder / 'told.json'))
        )
    assert isinstance(built, CocoMetric)


@pytest.fixture
def check(metric):
    """Compare an evaluator's file with that of a dataset, both as mmdet builds them."""

    def run(of_evaluator, of_dataset, name='of_evaluator.json', **options):
        from mmdet.datasets import CocoDataset

        (metric.folder / 'of_dataset.json').write_text(json.dumps(of_dataset))
        dataset = CocoDataset(
            ann_file=str(metric.folder / 'of_dataset.json'),
            data_prefix=dict(img=''),
            metainfo=dict(classes=('cell',)),
            test_mode=True,
            pipeline=[],
            **options,
        )
        built = metric(of_evaluator, StockCocoMetric, name)
        runner = SimpleNamespace(
            val_loop=SimpleNamespace(evaluator=SimpleNamespace(metrics=[built])),
            cfg=ConfigDict(val_evaluator=dict(ann_file=str(metric.folder / name))),
        )
        check_evaluators(runner, 'val', [dataset])
        return built

    return run


def two(**changes):
    told = grid(3)
    told['images'].append(dict(id=2, file_name='b.png', width=320, height=320, **changes))
    return told


def test_files_that_agree(check, warnings):
    assert 0 not in check(grid(2), grid(2, first_id=0))._coco_api.anns
    assert 0 not in check(grid(2, first_id=0), grid(2))._coco_api.anns, 'the stock one is prepared'
    told = two()
    told['annotations'][1].update(area=0)  # Left out by the dataset, counted by the evaluator.
    check(told, told, 'of_dataset.json')
    assert not warnings


@pytest.mark.parametrize(
    'spoil, text',
    [
        (lambda told: told['images'][0].update(id=9), 'picture 1 is not in both'),
        (lambda told: told['images'][0].update(file_name='c.png'), "picture 1 is 'c.png' in one"),
        (
            lambda told: told['annotations'][1].update(bbox=[1, 2, 30, 40]),
            r"'a.png' has a 'cell' at \[22.0, 2.0, 12.0, 12.0\] in the second alone",
        ),
        (lambda told: told['annotations'].pop(), "has a 'cell' at"),
    ],
)
def test_files_that_differ(check, spoil, text):
    told = grid(2)
    spoil(told)
    with pytest.raises(UserError, match=f"val_evaluator reads '.*of_evaluator.json', but .*{text}"):
        check(told, grid(2))


def test_pictures_that_the_evaluator_waits_for_in_vain(check, warnings):
    check(two(), grid(3))
    check(two(), two(), 'of_dataset.json', indices=1)
    assert len(warnings) == 2
    assert all("1 pictures that val_dataloader does not hand out, such as '" in w for w in warnings)


def scattered(images=40, seed=0):
    """Annotations of three classes, some of them crowds, and what a detector might find of them."""
    draw = np.random.default_rng(seed)
    annotations, results = [], []
    for image in range(1, images + 1):
        # More in the first than are counted.
        corners = draw.uniform(0, 150, (draw.integers(0, 9) if image > 1 else 150, 2))
        boxes = np.concatenate([corners, draw.uniform(4, 50, corners.shape)], 1).round(1)
        labels = draw.integers(0, 3, len(boxes)) if image > 1 else np.zeros(150, int)
        for label, box in zip(labels, boxes, strict=True):
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=image,
                    category_id=int(label) + 1,
                    bbox=box.tolist(),
                    area=float(box[2] * box[3]),
                    iscrowd=int(draw.random() < 0.1),
                    segmentation=rectangle(box),
                )
            )
        near = np.repeat(boxes, 4, 0) + draw.normal(0, 2, (4 * len(boxes), 4))
        near[:, 2:] = near[:, 2:].clip(1)
        results.append(
            dict(
                img_id=image,
                bboxes=np.concatenate([near[:, :2], near[:, :2] + near[:, 2:]], 1),
                scores=draw.random(len(near)).round(2),  # Some alike.
                labels=np.repeat(labels, 4),
                masks=[rectangle(box) for box in near],
            )
        )
    pictures = [dict(id=i + 1, file_name=f'{i}.png', width=200, height=200) for i in range(images)]
    names = [dict(id=i, name=f'class {i}') for i in (1, 2, 3)]
    return dict(images=pictures, annotations=annotations, categories=names), results


def rectangle(box):
    x, y, width, height = map(float, box)
    corners = [x, y, x + width, y, x + width, y + height, x, y + height]
    (rle,) = masks.frPyObjects([corners], 200, 200)
    return dict(size=rle['size'], counts=rle['counts'].decode())


@pytest.mark.parametrize('iou_thrs', [None, [0.5, 0.75]])
def test_the_faster_evaluation_gives_the_same_figures(metric, monkeypatch, iou_thrs):
    faster = pytest.importorskip('faster_coco_eval', reason='the faster evaluation is optional')
    told, results = scattered()
    called = []
    own = faster.COCOeval_faster.evaluate
    monkeypatch.setattr(
        faster.COCOeval_faster, 'evaluate', lambda self: [called.append(1), own(self)]
    )

    def figures(installed):
        if not installed:
            monkeypatch.setattr(f'{CocoMetric.__module__}.find_spec', lambda name: None)
        options = dict(
            metric=['bbox', 'segm', 'proposal'], classwise=iou_thrs is None, iou_thrs=iou_thrs
        )
        built = metric(told, proposal_nums=(100, 300, 1000), **options)
        built.dataset_meta = dict(classes=('class 1', 'class 2', 'class 3'))
        return built.compute_metrics([({}, deepcopy(result)) for result in results])

    fast, calls = figures(True), len(called)
    slow = figures(False)
    assert calls == len(called) == 3  # Ours ran it, for each of the metrics; the other never.
    assert 0.1 < slow['bbox_mAP'] < 0.9
    assert fast == pytest.approx(slow, abs=1e-9)
