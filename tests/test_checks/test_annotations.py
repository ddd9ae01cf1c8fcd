"""Annotations that mmdet would take without a word, or die of, are refused in one sentence."""

import json
import logging
import os
import re
from contextlib import nullcontext
from copy import deepcopy

import mmcv.transforms
import pytest
from PIL import Image
from pycocotools import mask as masks

pytest.importorskip('mmdet', reason='the layout of COCO is read by mmdet')
from mmdet.datasets import CocoDataset  # noqa: E402
from mmengine.config import Config, ConfigDict  # noqa: E402
from mmengine.logging import MMLogger  # noqa: E402
from mmengine.registry import DATASETS, DefaultScope  # noqa: E402
from torch.utils.data import DataLoader  # noqa: E402

from mmspike.checks.data import build_dataset  # noqa: E402
from mmspike.commands.common import use_checked_datasets  # noqa: E402
from mmspike.errors import UserError  # noqa: E402

GOOD = dict(
    images=[
        dict(id=7, file_name='a.png', width=40, height=30),
        dict(id=8, file_name='b.png', width=40, height=30),
    ],
    annotations=[
        dict(
            id=number,
            image_id=image,
            category_id=category,
            bbox=[4, 5, 10, 12],
            area=120,
            iscrowd=0,
            segmentation=[[4, 5, 14, 5, 14, 17]],
        )
        for number, (image, category) in enumerate([(7, 1), (7, 2), (8, 1)])
    ],
    categories=[dict(id=1, name='cat'), dict(id=2, name='dog'), dict(id=5, name='ox')],
)
MASKS = [dict(type='LoadAnnotations', with_mask=True)]


@pytest.fixture
def check(tmp_path):
    """Write a changed copy of the good file, and check it."""
    for name in 'ab':
        Image.new('RGB', (40, 30)).save(tmp_path / f'{name}.png')

    def run(change=None, classes=('cat', 'dog'), told=None, **options):
        told = deepcopy(GOOD) if told is None else told
        if change:
            change(told)
        path = tmp_path / 'told.json'
        path.write_text(told if isinstance(told, str) else json.dumps(told))
        dataset = dict(
            type='mmspike.CocoDataset',
            data_root=str(tmp_path),
            ann_file='told.json',
            data_prefix=dict(img=''),
            metainfo=dict(classes=classes),
            pipeline=MASKS,
        )
        config = ConfigDict(dataset={**dataset, **options})
        with DefaultScope.overwrite_default_scope('mmdet'):
            return build_dataset(
                lambda: DataLoader(DATASETS.build(deepcopy(config.dataset))), config, 'train'
            )

    run.folder = tmp_path
    return run


@pytest.fixture
def said():
    """The records that go to mmengine's log."""
    records = []
    handler = logging.Handler()
    handler.emit = records.append
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    yield records
    logger.removeHandler(handler)


def test_a_good_file_and_a_crowd(check):
    check()
    check(
        lambda told: told['annotations'][0].update(
            segmentation=dict(size=[30, 40], counts=[155, 9, 1036])
        )
    )
    check(classes=('dog',)), check(classes=('cat', 'ox'))
    # A box may reach a little beyond.
    check(lambda told: told['annotations'][0].update(bbox=[30, 20, 12, 12]))


def test_mmdet_numbers_classes_by_the_file(tmp_path):
    """The reason of `CocoDataset`: this is what the stock one does with another order."""
    (tmp_path / 'told.json').write_text(json.dumps(GOOD))
    with DefaultScope.overwrite_default_scope('mmdet'):
        dataset = DATASETS.build(
            dict(
                type='CocoDataset',
                ann_file=str(tmp_path / 'told.json'),
                data_prefix=dict(img=''),
                metainfo=dict(classes=('dog', 'cat')),
                pipeline=[],
            )
        )
    names = [dataset.metainfo['classes'][i['bbox_label']] for i in dataset[0]['instances']]
    assert names == ['dog', 'cat'], 'the first is a cat in the file'


def warnings_in(records):
    return [record.getMessage() for record in records if record.levelname == 'WARNING']


def objects_of(dataset):
    """Name and box of each object, by the file of its picture."""
    infos = map(dataset.get_data_info, range(len(dataset)))
    names = dataset.metainfo['classes']
    return {
        os.path.basename(info['img_path']): [
            (names[one['bbox_label']], one['bbox']) for one in info['instances']
        ]
        for info in infos
    }


BOX = [4, 5, 14, 17]
TOLD = {'a.png': [('cat', BOX), ('dog', BOX)], 'b.png': [('cat', BOX)]}


@pytest.mark.parametrize('classes', [('cat', 'dog'), ('dog', 'cat'), ('dog', 'ox', 'cat')])
@pytest.mark.parametrize('ids', [(1, 2, 5), (5, 0, 1), ('x', 'y', 'z')])
def test_classes_are_matched_by_name(check, classes, ids):
    """Neither the order nor the ids of categories matter; labels go by the classes."""

    def renumber(told):
        new = dict(zip((1, 2, 5), ids, strict=True))
        told['categories'] = [{**c, 'id': new[c['id']]} for c in told['categories'][::-1]]
        for annotation in told['annotations']:
            annotation['category_id'] = new[annotation['category_id']]

    assert objects_of(check(renumber, classes=classes)) == TOLD


def test_classes_without_a_category(check, said):
    """A file may list what occurs in it alone, but its other objects may be of the class."""
    dataset = check(lambda told: told['categories'].pop(), classes=('ox', 'cat', 'dog'))
    assert objects_of(dataset) == TOLD
    (warning,) = warnings_in(said)
    assert "has no category 'ox' (1 of 3 are missing)" in warning
    with pytest.raises(UserError, match="has the class 'fox', but the categories .* cat, dog, ox;"):
        check(classes=('cat', 'fox'))
    with pytest.raises(UserError, match="has the class 'fox', but"):
        check(lambda told: told.update(annotations=[]), classes=('fox',), test_mode=True)


def test_names_in_capitals_and_with_spaces(check):
    def rename(told):
        told['categories'][0]['name'] = ' Cat'
        told['categories'].append(dict(id=9, name='CAT'))
        told['annotations'][2]['category_id'] = 9

    assert objects_of(check(rename)) == TOLD
    # Two classes that differ in capitals alone stand for themselves.
    told = objects_of(check(rename, classes=('CAT', ' Cat', 'dog')))
    assert [[name for name, _ in told[file]] for file in told] == [[' Cat', 'dog'], ['CAT']]


def test_classes_of_the_config(check):
    with pytest.raises(UserError, match=r"is the text 'cat', but .* classes=\('cat',\)"):
        check(classes='cat')
    with pytest.raises(UserError, match=r"is \('cat', 'cat'\), which has a name twice"):
        check(classes=('cat', 'cat'))


@pytest.mark.parametrize('told', ['[]', '{"images": []}', 'no JSON'])
def test_another_file(check, told):
    with pytest.raises(UserError, match='must be a JSON object with|cannot be read as a JSON'):
        check(told=told)


def test_a_file_without_annotations(check):
    told = {key: value for key, value in GOOD.items() if key != 'annotations'}
    with pytest.raises(UserError, match='must be a JSON object with'):
        check(told=told)
    check(told=told, test_mode=True)
    with pytest.raises(UserError, match='has no annotation of any of its 2 pictures'):
        check(lambda told: told.update(annotations=[]))


@pytest.mark.parametrize(
    'kind, key',
    [('images', 'height'), ('annotations', 'area'), ('categories', 'name')],
)
def test_what_is_missing(check, kind, key):
    with pytest.raises(UserError, match=f"Number 1 of {kind} in '.*' has no {key}; each needs "):
        check(lambda told: told[kind][1].pop(key))


@pytest.mark.parametrize(
    'change, said',
    [
        (dict(bbox=[1, 2, float('nan'), 4]), r'has the bbox \[1, 2, nan, 4\], but it must be four'),
        (dict(bbox=['1', '2', '3', '4']), 'has the bbox .* but it must be four numbers'),
        (dict(bbox=[1, 2, 3]), 'has the bbox .* but it must be four numbers'),
        (dict(area='120'), "has the area '120', but it must be a number"),
        (dict(area=None), 'has the area None, but it must be a number'),
        (dict(iscrowd='0'), "has iscrowd '0', but it must be 0 or 1"),
        (dict(category_id=[1]), r'has the category_id \[1\], but it must be a whole number'),
        (
            dict(category_id=True, area=99, bbox=[4, 5, 9, 11]),
            'has the category_id True, but it must be a whole number',
        ),
        (dict(category_id=0), 'has category_id 0, which is not in categories'),
        (dict(segmentation=[]), 'has no segmentation, which a model with masks needs'),
        (
            dict(segmentation=dict(size=[40, 30], counts=[0, 1200])),
            r'has an RLE mask of the size \[40',
        ),
        (
            dict(segmentation=dict(size=[30, 40], counts=[155, 9, 1000])),
            'has an RLE mask of 1164 pixels, but its picture has 1200',
        ),
        (dict(segmentation=dict(size=[60, 80], counts=[0, 4800])), r'\[height, width\] \[30, 40\]'),
        (dict(segmentation=dict(size=[30, 40], counts=[1200])), 'and an RLE a pixel'),
        (dict(segmentation=dict(size=[30, 40], counts='PU1')), 'and an RLE a pixel'),
        (
            dict(segmentation=[[1, 2, 3, 4]]),
            r'has the mask \[\[1, 2, 3, 4\]\], but a polygon needs',
        ),
    ],
)
def test_one_annotation(check, change, said):
    with pytest.raises(UserError, match=f'An annotation of picture 7 in .*{said}'):
        check(lambda told: told['annotations'][1].update(change))


def test_a_few_polygons_without_three_points(check, said):
    """COCO has some; mmdet ignores them in training."""

    def change(told):
        first = told['annotations'][0]
        told['annotations'] = [
            {**deepcopy(first), 'id': i, 'bbox': [4 + i / 20, 5, 10, 12]} for i in range(20)
        ]
        told['annotations'][7]['segmentation'] = [[1, 2, 3, 4]]
        told['annotations'][8]['segmentation'].append([1, 2, 3, 4])

    check(change)
    assert '19 objects; of 20 in the annotations are left out: 1 of polygons with less than' in (
        said[-1].getMessage()
    )
    with pytest.raises(UserError, match='has the mask'):
        check(change, test_mode=True)


@pytest.mark.parametrize('mask', ['here', 0.5, dict(size=[30, 40])])
def test_masks_that_cannot_be_read(check, mask):
    """Where no step loads them, they do no harm."""

    def change(told):
        told['annotations'][1].update(segmentation=mask)

    with pytest.raises(UserError, match='picture 7 in .* has a segmentation that cannot be read'):
        check(change)
    check(change, pipeline=[])


@pytest.mark.parametrize(
    'change, named',
    [
        (dict(bbox=[7, 8, 10, 12]), r'the bbox of 1 of 3 .* \[7, 8, 10, 12\] in picture 8'),
        (dict(bbox=[4, 5, 14, 17]), r'the bbox of 1 of 3 .* has \[4, 5, 10, 12\]'),  # Corners.
        (dict(segmentation=[[0, 0, 4, 0, 4, 4]]), 'the bbox of 1 of 3'),
        (dict(segmentation=dict(size=[30, 40], counts=[0, 1200])), 'the bbox of 1 of 3'),
        (dict(area=900), 'the area of 1 of 3 .* 900 in picture 8, whose segmentation has'),
        (dict(area=12), 'the area of 1 of 3'),
    ],
)
def test_boxes_and_areas_that_do_not_fit_the_masks(check, said, change, named):
    check()
    assert [record for record in said if record.levelname == 'WARNING'] == []
    check(lambda told: told['annotations'][2].update(change))
    (warning,) = [record for record in said if record.levelname == 'WARNING']
    assert re.search(named, warning.getMessage())


@pytest.mark.parametrize(
    'box, named',
    [([4, 5, 9, 11], r'1\.0 pixels or more wider and 1\.0 higher'), ([3, 4, 12, 14], 'narrower')],
)
def test_boxes_that_are_off_throughout(check, said, box, named):
    """Each is within its tolerance."""
    check(lambda told: told['annotations'][2].update(bbox=box))
    assert not warnings_in(said)

    def change(told):
        for annotation in told['annotations']:
            annotation.update(bbox=box, segmentation=[[4, 5, 14, 5, 14, 17, 4, 17]])

    check(change)
    (warning,) = warnings_in(said)
    assert 'half of the 3 masks looked at are' in warning and re.search(named, warning)


@pytest.mark.parametrize('poly2mask', [True, False])
def test_masks_as_the_loader_makes_them(check, poly2mask):
    """Polygons through pixel centres, as OpenCV traces 10x12 pixels."""

    def change(told):
        for annotation in told['annotations']:
            annotation['segmentation'] = [[4, 5, 13, 5, 13, 16, 4, 16]]

    steps = [dict(type='LoadAnnotations', with_mask=True, poly2mask=poly2mask)]
    dataset = check(change, pipeline=steps)
    info = {**dataset.get_data_info(0), 'ori_shape': (30, 40)}
    masks = dataset.pipeline(info)['gt_masks'].to_ndarray()
    assert [mask.sum() for mask in masks] == [120 if poly2mask else 99] * 2
    assert masks[0, 5:17, 4:14].all() == poly2mask


def test_masks_beyond_the_picture_and_few_pixels(check, said):
    """What real files have: a box that its picture cuts, and polygons smaller than pixels."""

    def change(told):
        told['annotations'][0].update(
            bbox=[33, 5, 10, 12], segmentation=[[33, 5, 43, 5, 43, 17, 33, 17]], area=100
        )
        told['annotations'][1].update(
            bbox=[4.2, 5.3, 1.2, 8], segmentation=[[4.2, 5.3, 5.4, 5.3, 5.4, 13.3]], area=5
        )

    check(change)
    assert [record for record in said if record.levelname == 'WARNING'] == []


def test_without_masks_none_are_needed(check):
    check(lambda told: [a.pop('segmentation') for a in told['annotations']], pipeline=[])


def test_corners_in_place_of_sizes(check):
    def corners(told):
        for annotation in told['annotations']:
            annotation['bbox'] = [30, 20, 39, 29]

    with pytest.raises(UserError, match=r'3 of the 3 boxes .* must be \[x, y, width, height\]'):
        check(corners)


def test_ids_that_come_twice(check):
    with pytest.raises(UserError, match="gives id 7 to more than one picture, such as 'b.png'"):
        check(lambda told: told['images'][1].update(id=7))


def test_ids_of_pictures_of_two_kinds(check):
    """COCO's evaluation sorts them."""
    with pytest.raises(UserError, match='The ids of the pictures in .* are numbers and texts'):
        check(lambda told: told['images'][1].update(id='8'))


def test_sizes_of_other_pictures(check):
    with pytest.raises(UserError, match="says that 'b.png' is 80 pixels wide and 60 high, but"):
        check(lambda told: told['images'][1].update(width=80, height=60))


@pytest.mark.parametrize('size', [-1, 0, None, '40', 40.5])
def test_sizes_that_are_none(check, size):
    with pytest.raises(UserError, match="gives 'b.png' the width .* both must be whole numbers"):
        check(lambda told: told['images'][1].update(width=size))
    with pytest.raises(UserError, match="gives 'b.png' the width 40 and the height"):
        check(lambda told: told['images'][1].update(height=size))


@pytest.mark.parametrize('ids', [(1, 1, 2), (0, 'a', None), ([1], True, 3)])
def test_ids_of_annotations_that_are_none(check, ids):
    """Nothing but their number matters."""

    def change(told):
        for annotation, id in zip(told['annotations'], ids, strict=True):
            annotation['id'] = id

    assert objects_of(check(change)) == TOLD
    assert objects_of(check(lambda told: [a.pop('id') for a in told['annotations']])) == TOLD


def test_two_categories_of_one_name(check):
    """Roboflow writes a root category besides the only class, of the same name."""

    def change(told):
        told['categories'].insert(0, dict(id=0, name='cat'))

    assert objects_of(check(change)) == TOLD
    assert (
        objects_of(check(lambda told: [change(told), told['annotations'][0].update(category_id=0)]))
        == TOLD
    )


@pytest.mark.parametrize('file_name', ['a.png', './a.png', 'x/../a.png'])
def test_pictures_that_are_listed_twice(check, said, file_name):
    """The objects of all entries, and each of them once, belong to the first."""

    def change(told):
        told['images'].append(dict(id=99, file_name=file_name, width=40, height=30))
        told['annotations'] += [{**a, 'id': 9, 'image_id': 99} for a in told['annotations'][:1]]
        told['annotations'][1]['image_id'] = 99

    assert objects_of(check(change)) == TOLD
    pictures, objects = warnings_in(said)
    assert "lists pictures more than once (1 entries too many, such as of 'a.png')" in pictures
    assert '1 of the 4 objects in' in objects
    same_id = dict(id=7, file_name='a.png', width=40, height=30)
    assert objects_of(check(lambda told: told['images'].append(same_id))) == TOLD


# The polygon of the first object, written in other ways.
RLE = masks.frPyObjects([[4, 5, 14, 5, 14, 17]], 30, 40)[0]
AGAIN = {
    'other corner': dict(segmentation=[[14, 17, 4, 5, 14, 5]]),
    'rounded': dict(segmentation=[[4.003, 5.002, 14, 5, 14, 17]]),
    'RLE': dict(segmentation=dict(size=[30, 40], counts=RLE['counts'].decode())),
}


@pytest.mark.parametrize(
    'change, objects',
    [
        (dict(), 3),
        (dict(bbox=[4.0, 5.001, 10, 12]), 3),
        (dict(bbox=[4.006, 4.996, 10, 12]), 3),
        (dict(segmentation=[]), 3),
        (AGAIN['other corner'], 3),
        (AGAIN['rounded'], 3),
        (AGAIN['RLE'], 3),
        (dict(category_id=2), 4),
        (dict(bbox=[4, 5, 10, 11]), 4),
        (dict(iscrowd=1), 4),
        (dict(segmentation=[[4, 5, 14, 17, 4, 17]]), 4),
    ],
)
def test_objects_that_are_annotated_twice(check, said, change, objects):
    """What differs in anything is another object."""

    def add(told):
        told['annotations'].insert(1, {**told['annotations'][0], 'id': 9, **change})
        told['annotations'][2]['category_id'] = 5

    found = objects_of(check(add, classes=('cat', 'dog', 'ox')))
    assert sum(map(len, found.values())) == objects
    copies = [text for text in warnings_in(said) if 'annotated twice' in text]
    assert len(copies) == 4 - objects
    assert all('1 of the 4 objects in' in text for text in copies)


def test_two_categories_of_one_id(check):
    with pytest.raises(UserError, match="'cat' and 'dog' in .* have the same id 1"):
        check(lambda told: told['categories'][1].update(id=1))


# How mmdet comes to leave annotations out, and what is said of it.
LEFT_OUT = [
    (dict(area=0), 'of area 0'),
    (dict(bbox=[0.1, 0.2, 0.5, 0.6]), 'of less than a pixel'),  # As shares of the picture.
    (dict(bbox=[-20, 5, 10, 12]), 'outside their picture'),
    (dict(ignore=1), 'marked with ignore'),
    (dict(iscrowd=1), 'ignored as crowds'),
    (dict(image_id='7'), 'of no picture in the file'),
]


@pytest.mark.parametrize('change, reason', LEFT_OUT)
def test_objects_that_are_left_out(check, said, change, reason):
    """All: refused. One of three: a warning that counts. In each case mmdet itself says nothing."""
    with pytest.raises(UserError, match=f'3 {reason}|no annotation of any of its 2 pictures'):
        check(lambda told: [annotation.update(change) for annotation in told['annotations']])
    dataset = check(lambda told: told['annotations'][0].update(change))
    infos = [dataset.get_data_info(index) for index in range(len(dataset))]
    used = [i for info in infos for i in info['instances'] if not i['ignore_flag']]
    assert len(used) == 2
    assert said[-1].levelname == 'WARNING'
    assert (
        said[-1]
        .getMessage()
        .startswith(
            f'train: 2 images, 2 objects; of 3 in the annotations are left out: 1 {reason}; correct'
        )
    )


def test_images_that_are_left_out(check, said):
    def change(told):
        told['images'][1].update(width=40, height=30)

    options = dict(filter_cfg=dict(min_size=31))
    with pytest.raises(UserError, match='names no image to use'):
        check(change, **options)

    def shrink(told):
        told['images'].append(dict(id=9, file_name='c.png', width=20, height=20))
        told['annotations'].append({**told['annotations'][0], 'id': 9, 'image_id': 9})

    Image.new('RGB', (20, 20)).save(check.folder / 'c.png')
    check(shrink, filter_cfg=dict(min_size=30))
    assert said[-1].levelname == 'WARNING'
    assert 'of 4 in the annotations are left out: 1 in images that' in said[-1].getMessage()
    assert '; left out are 1 images smaller than filter_cfg.min_size' in said[-1].getMessage()


@pytest.mark.parametrize('classes, level', [(('cat', 'dog'), 'WARNING'), (('dog',), 'INFO')])
def test_pictures_without_objects(check, said, classes, level):
    """Those of other classes than chosen are left out on purpose."""
    b_is_empty = None if classes == ('dog',) else lambda told: told['annotations'].pop()
    assert len(check(b_is_empty, classes, filter_cfg=dict(filter_empty_gt=True))) == 1
    assert (
        said[-1]
        .getMessage()
        .endswith(
            'left out are 1 images without an object (filter_cfg.filter_empty_gt=False keeps them)'
        )
    )
    assert said[-1].levelname == level
    assert len(check(b_is_empty, classes, filter_cfg=dict(filter_empty_gt=False))) == 2


def test_nothing_to_score(check):
    """Of a file with objects none is handed out."""
    with pytest.raises(UserError, match=r'2 images and no object to .* score .*3 of area 0'):
        check(lambda told: [a.update(area=0) for a in told['annotations']], test_mode=True)


def test_classes_that_are_not_used_are_told_without_a_warning(check, said):
    check(classes=('cat',))
    assert said[-1].getMessage().endswith('1 of classes that the dataset does not use')
    assert said[-1].levelname == 'INFO'


def test_validation_without_a_picture(check):
    with pytest.raises(UserError, match=r'of any of its 2 pictures \(3 of others\)'):
        check(
            lambda told: [a.update(image_id=99 + a['id']) for a in told['annotations']],
            test_mode=True,
        )


def test_other_processes_look_at_nothing(check, monkeypatch):
    """They build the dataset as mmdet does."""
    monkeypatch.setattr('mmspike.datasets.coco.is_main_process', lambda: False)
    monkeypatch.setattr('mmspike.checks.data.is_main_process', lambda: False)
    assert len(check(lambda told: [a.update(area=0) for a in told['annotations']])) == 2


def test_the_stock_dataset_is_exchanged_whatever_wraps_it():
    def datasets(kind):
        inner = dict(type=kind, ann_file='a.json')
        joined = dict(type='ConcatDataset', datasets=[inner, dict(type='VOCDataset')])
        return Config(dict(train_dataloader=dict(dataset=dict(type='Repeat', dataset=joined))))

    for kind in ('CocoDataset', 'mmdet.CocoDataset', CocoDataset):
        config = datasets(kind)
        use_checked_datasets(config, ('train', 'val'))
        first, second = config.train_dataloader.dataset.dataset.datasets
        assert first == dict(type='mmspike.CocoDataset', ann_file='a.json')
        assert second == dict(type='mmspike.VOCDataset')
    config = datasets('my.CocoDataset')
    use_checked_datasets(config, ('train',))
    assert config.train_dataloader.dataset.dataset.datasets[0].type == 'my.CocoDataset'


def test_datasets_of_others(check, said):
    """Derived from mmspike's they are checked; of those derived from mmdet's it is said."""

    class Mine(DATASETS.get('mmspike.CocoDataset')):
        METAINFO = dict(classes=('cat', 'dog'))

    class Stock(CocoDataset):
        METAINFO = dict(classes=('cat', 'dog'))

    def corrupt(told):
        told['annotations'][0].update(area='no number')

    with pytest.raises(UserError, match="has the area 'no number'"):
        check(corrupt, metainfo=None, type=Mine)
    check(metainfo=None, type=Stock)
    assert '.Stock are not checked; use mmspike.CocoDataset, or derive' in said[-1].getMessage()
    check(metainfo=None, type=Mine)
    assert 'not checked' not in said[-1].getMessage()


def test_a_file_is_parsed_once_and_a_picture_asked_for_once(check, monkeypatch):
    parsed, sized = [], []
    load, scan = json.load, os.scandir
    monkeypatch.setattr(json, 'load', lambda file: parsed.append(file.name) or load(file))

    class Entry:
        def __init__(self, entry):
            self.entry, self.name, self.is_file = entry, entry.name, entry.is_file

        def stat(self):
            sized.append(self.name)
            return self.entry.stat()

    monkeypatch.setattr(os, 'scandir', lambda path: nullcontext(map(Entry, scan(path))))
    check()
    assert parsed == [str(check.folder / 'told.json')]
    assert sorted(sized) == ['a.png', 'b.png']


@pytest.mark.parametrize('orientation, said_of', [(6, 'turns it to 30x40 pixels'), (3, None)])
def test_turned_pictures_and_the_stock_loader(check, monkeypatch, orientation, said_of):
    """The stock loader turns the picture, and nobody turns the boxes."""
    warned = []
    monkeypatch.setattr(
        'mmspike.datasets.annotation_samples.warn_of_orientation', lambda *told: warned.append(told)
    )
    tag = Image.Exif()
    tag[0x0112] = orientation
    Image.new('RGB', (40, 30)).save(check.folder / 'b.png', exif=tag)
    check(pipeline=[dict(type='mmspike.LoadImageFromFile')])
    check(pipeline=[dict(type='LoadImageFromFile', color_type='color_ignore_orientation')])
    assert not warned
    check(pipeline=[dict(type='LoadImageFromFile')])  # The name means mmspike's loader.
    stock = [dict(type=mmcv.transforms.LoadImageFromFile)]
    if said_of:
        with pytest.raises(UserError, match=f"EXIF orientation of '.*b.png' {said_of}"):
            check(pipeline=stock)
    else:
        check(pipeline=stock)
        assert warned == [(str(check.folder / 'b.png'), orientation, 'boxes')]
