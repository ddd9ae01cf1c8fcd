"""Annotations that mmdet would take without a word, or die of, are refused in one sentence."""

import json
from copy import deepcopy

import pytest
from PIL import Image

pytest.importorskip('mmdet', reason='the layout of COCO is read by mmdet')
from mmengine.registry import DATASETS, DefaultScope  # noqa: E402

from mmspike.engine.annotations import check_annotations  # noqa: E402
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
        dataset = dict(type='CocoDataset', metainfo=dict(classes=classes), pipeline=MASKS)
        check_annotations({**dataset, **options}, str(path), str(tmp_path))

    return run


def test_a_good_file_and_a_crowd(check):
    check()
    check(lambda told: told['annotations'][0].update(segmentation=dict(size=[30, 40], counts='1')))
    check(classes=('dog',)), check(classes=('cat', 'ox'))
    # A box may reach a little beyond, and a camera may have been held upright.
    check(lambda told: told['annotations'][0].update(bbox=[30, 20, 12, 12]))
    check(lambda told: told['images'][0].update(width=30, height=40))


def test_mmdet_numbers_classes_by_the_file(tmp_path):
    """The reason of the demand: this is what it does with another order."""
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


def test_classes(check):
    with pytest.raises(UserError, match=r"\('dog', 'cat'\), but .* has \('cat', 'dog'\); write"):
        check(classes=('dog', 'cat'))
    with pytest.raises(UserError, match="has the class 'Cat', but the categories .* cat, dog, ox;"):
        check(classes=('Cat', 'dog'))
    with pytest.raises(UserError, match=r"is the text 'cat', but .* classes=\('cat',\)"):
        check(classes='cat')
    with pytest.raises(UserError, match="has the class 'person', but"):
        check(metainfo=None)  # Those of COCO.


@pytest.mark.parametrize('told', ['[]', '{"images": []}', 'no JSON'])
def test_another_file(check, told):
    with pytest.raises(UserError, match='must be a JSON object with|cannot be read as JSON'):
        check(told=told)


def test_a_file_without_annotations(check):
    told = {key: value for key, value in GOOD.items() if key != 'annotations'}
    with pytest.raises(UserError, match='must be a JSON object with'):
        check(told=told)
    check(told=told, test_mode=True)
    with pytest.raises(UserError, match='has no annotation of any of its 2 pictures'):
        check(lambda told: told.update(annotations=[]))


@pytest.mark.parametrize(
    'kind, key', [('images', 'height'), ('annotations', 'area'), ('categories', 'name')]
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
        (dict(category_id=0), 'has category_id 0, which is not in categories'),
        (dict(segmentation=[]), 'has no segmentation, which a model with masks needs'),
        (dict(segmentation=[[1, 2, 3, 4]]), r'has the polygons \[\[1, 2, 3, 4\]\], but one needs'),
    ],
)
def test_one_annotation(check, change, said):
    with pytest.raises(UserError, match=f'An annotation of picture 7 in .*{said}'):
        check(lambda told: told['annotations'][1].update(change))


def test_a_few_polygons_without_three_points(check):
    """COCO has some; mmdet ignores them in training."""

    def change(told):
        told['annotations'] = [deepcopy(told['annotations'][0]) for _ in range(20)]
        told['annotations'][7]['segmentation'] = [[1, 2, 3, 4]]
        told['annotations'][8]['segmentation'].append([1, 2, 3, 4])

    check(change)
    with pytest.raises(UserError, match='has the polygons'):
        check(change, test_mode=True)


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


def test_sizes_of_other_pictures(check):
    with pytest.raises(UserError, match="says that 'b.png' is 80 pixels wide and 60 high, but"):
        check(lambda told: told['images'][1].update(width=80, height=60))
