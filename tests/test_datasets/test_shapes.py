"""The shapes dataset: exact masks, genuine COCO, true label maps, the same bytes every time."""

import json
import shutil

import cv2
import numpy as np
import pytest
from PIL import Image

from mmspike.datasets import generate_shapes, shapes
from mmspike.engine import UserError


def files(root):
    return {path.relative_to(root): path.read_bytes() for path in root.rglob('*') if path.is_file()}


@pytest.fixture(scope='module')
def dataset(tmp_path_factory):
    pytest.importorskip('pycocotools', reason='it comes with mmdet')
    return generate_shapes(tmp_path_factory.mktemp('shapes') / 'set', num_train=60, num_val=8)


@pytest.fixture(scope='module')
def coco(dataset):
    from pycocotools.coco import COCO

    return COCO(dataset / 'annotations' / 'instances_train.json')


class Quiet(np.random.Generator):
    """A generator whose noise is silent."""

    def normal(self, *args, **kwargs):
        return 0.0


@pytest.mark.parametrize('seed', range(12))
def test_masks_are_the_visible_pixels(monkeypatch, seed):
    """On black, in colours told apart by their channels, the picture itself shows the masks."""
    patterns = iter([(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, 0, 1), (0, 1, 1)])
    monkeypatch.setattr(shapes, '_background', lambda rng, x, y: np.zeros((*x.shape, 3)))
    monkeypatch.setattr(shapes, '_colour', lambda *args: 200.0 * np.array(next(patterns)))
    image, instances = shapes.draw_scene(Quiet(np.random.PCG64(seed)), 96)
    painted = (image > 0) @ np.array([1, 2, 4])
    shown = {int(value): painted == value for value in np.unique(painted) if value}
    assert len(shown) == len(instances)
    for _, mask in instances:
        (value,) = np.unique(painted[mask])
        assert np.array_equal(mask, shown[int(value)])


def test_hidden_shapes_are_not_drawn(monkeypatch):
    """Three discs on one spot: the last hides the others, and only it may be in the picture."""

    def disc(rng, x, y, size):
        return 0, np.hypot(x - 32, y - 32) - 10, np.full(3, 200.0)

    monkeypatch.setattr(shapes, '_random_shape', disc)
    counts = [len(shapes.draw_scene(np.random.default_rng(seed), 64)[1]) for seed in range(40)]
    assert set(counts) == {0, 1}


def test_the_last_mask_is_in_front(monkeypatch):
    """Two overlapping discs: the hinder one is cut, and it comes first."""
    places = iter([26, 38] * 40)

    def disc(rng, x, y, size):
        return 0, np.hypot(x - next(places), y - 32) - 10, np.full(3, 200.0)

    monkeypatch.setattr(shapes, '_random_shape', disc)
    monkeypatch.setattr(shapes, 'MAX_OBJECTS', 2)
    scenes = (shapes.draw_scene(np.random.default_rng(seed), 64)[1] for seed in range(20))
    areas = [[mask.sum() for _, mask in scene] for scene in scenes if len(scene) == 2]
    assert areas and all(behind < front for behind, front in areas)


def test_objects_per_image():
    counts = [len(shapes.draw_scene(np.random.default_rng(seed), 64)[1]) for seed in range(150)]
    assert min(counts) == 0 and max(counts) in (3, 4)
    assert counts.count(0) < 20


def test_categories_have_their_geometry(coco):
    """Measured by OpenCV on every shape that is neither cut off nor covered."""
    seen = set()
    for image_id in coco.getImgIds():
        annotations = coco.loadAnns(coco.getAnnIds(image_id))
        x, y, w, h = annotations[0]['bbox'] if len(annotations) == 1 else (0, 0, 0, 0)
        if min(x, y) < 1 or x + w > 126 or y + h > 126 or w * h < 400:
            continue
        mask = coco.annToMask(annotations[0])
        points = np.argwhere(mask)[:, ::-1].astype(np.float32)
        sides = np.array(cv2.minAreaRect(points)[1]) + 1
        in_box = mask.sum() / sides.prod()
        in_circle = mask.sum() / (np.pi * (cv2.minEnclosingCircle(points)[1] + 0.5) ** 2)
        name = shapes.CLASSES[annotations[0]['category_id'] - 1]
        assert dict(circle=in_circle > 0.9, rectangle=in_box > 0.85, triangle=0.4 < in_box < 0.65)[
            name
        ], (name, in_box, in_circle)
        seen.add(name)
    assert seen == set(shapes.CLASSES)


def test_annotations_are_genuine_coco(dataset, coco):
    assert [category['name'] for category in coco.loadCats([1, 2, 3])] == list(shapes.CLASSES)
    assert len(set(coco.getAnnIds())) == len(coco.dataset['annotations']) > 100
    for annotation in coco.dataset['annotations']:
        assert annotation['iscrowd'] == 0 and isinstance(annotation['segmentation']['counts'], str)
        rows, columns = np.nonzero(coco.annToMask(annotation))
        box = [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
        assert annotation['bbox'] == box and annotation['area'] == len(rows) > 16
    for image in coco.dataset['images']:
        assert cv2.imread(str(dataset / 'train' / image['file_name'])).shape == (128, 128, 3)


def test_stored_masks_are_the_drawn_ones(coco):
    image, instances = shapes.draw_scene(np.random.default_rng([0, 0, 4]), 128)
    annotations = coco.loadAnns(coco.getAnnIds(5))
    assert len(annotations) == len(instances)
    for annotation, (category, mask) in zip(annotations, instances, strict=True):
        assert annotation['category_id'] == category + 1
        assert np.array_equal(coco.annToMask(annotation), mask)


def test_mmdet_reads_it(dataset):
    pytest.importorskip('mmdet', reason='reads the dataset with mmdet')
    from mmdet.datasets import CocoDataset
    from mmdet.datasets.transforms import LoadAnnotations

    from mmspike.datasets import LoadImageFromFile

    data = CocoDataset(
        ann_file='annotations/instances_val.json',
        data_root=str(dataset),
        data_prefix=dict(img='val/'),
        metainfo=dict(classes=shapes.CLASSES),
        test_mode=True,
        pipeline=[LoadImageFromFile(), LoadAnnotations(with_bbox=True, with_mask=True)],
    )
    assert len(data) == 8
    _, instances = shapes.draw_scene(np.random.default_rng([0, 1, 2]), 128)
    sample = data[2]
    assert sample['gt_bboxes_labels'].tolist() == [category for category, _ in instances]
    assert np.array_equal(sample['gt_masks'].masks, [mask for _, mask in instances])


def test_label_maps_agree_with_the_instances(dataset, coco):
    for image in coco.loadImgs(coco.getImgIds()):
        with Image.open(dataset / 'masks' / 'train' / image['file_name']) as label_map:
            assert label_map.mode == 'P'
            assert tuple(label_map.getpalette()[3:6]) == shapes.PALETTE[1]
            ids = np.array(label_map)
        annotations = coco.loadAnns(coco.getAnnIds(image['id']))
        for annotation in annotations:
            assert (ids[coco.annToMask(annotation) > 0] == annotation['category_id']).all()
        assert np.count_nonzero(ids) == sum(annotation['area'] for annotation in annotations)


def test_mmseg_reads_it(dataset):
    mmseg = pytest.importorskip('mmseg.datasets', reason='reads the dataset with mmseg')
    from mmspike.datasets import LoadImageFromFile, LoadSegAnnotations

    data = mmseg.BaseSegDataset(
        data_root=str(dataset),
        img_suffix='.png',
        data_prefix=dict(img_path='val', seg_map_path='masks/val'),
        metainfo=dict(classes=('background', *shapes.CLASSES), palette=shapes.PALETTE),
        pipeline=[LoadImageFromFile(), LoadSegAnnotations(num_classes=4)],
    )
    assert len(data) == 8
    _, instances = shapes.draw_scene(np.random.default_rng([0, 1, 2]), 128)
    ids = data[2]['gt_seg_map']
    assert all((ids[mask] == category + 1).all() for category, mask in instances)


def test_an_older_dataset_gets_its_label_maps(tmp_path, monkeypatch):
    root = generate_shapes(tmp_path / 'set', num_train=2, num_val=1, size=32)
    whole = files(root)
    shutil.rmtree(root / 'masks')
    write = shapes._write_label_map
    monkeypatch.delattr(shapes, '_write_split')  # What is there is left alone.
    monkeypatch.setattr(shapes, '_write_label_map', lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        generate_shapes(root, num_train=2, num_val=1, size=32)
    assert not (root / 'masks').exists() and list(tmp_path.iterdir()) == [root]
    monkeypatch.setattr(shapes, '_write_label_map', write)
    generate_shapes(root, num_train=2, num_val=1, size=32)
    assert files(root) == whole and list(tmp_path.iterdir()) == [root]


def test_same_bytes_and_a_larger_set_begins_with_the_smaller(tmp_path):
    first, again, larger = (
        files(generate_shapes(tmp_path / name, num_train=count, num_val=2, size=64, seed=3))
        for name, count in [('a', 2), ('b', 2), ('c', 4)]
    )
    assert first == again
    pictures = {path: content for path, content in first.items() if path.suffix == '.png'}
    assert len(pictures) == 8 and pictures.items() <= larger.items()
    other = files(generate_shapes(tmp_path / 'd', num_train=2, num_val=2, size=64, seed=4))
    assert all(other[path] != content for path, content in pictures.items())


def test_the_same_dataset_is_reused(tmp_path, monkeypatch):
    generate_shapes(tmp_path / 'set', num_train=1, num_val=1, size=32)
    monkeypatch.delattr(shapes, '_write_split')
    generate_shapes(tmp_path / 'set', num_train=1, num_val=1, size=32)


def test_anything_else_is_refused(tmp_path):
    generate_shapes(tmp_path / 'set', num_train=1, num_val=1, size=32)
    before = files(tmp_path)
    with pytest.raises(UserError, match="'train': 1.*'train': 2"):
        generate_shapes(tmp_path / 'set', num_train=2, num_val=1, size=32)
    with pytest.raises(UserError, match='holds something other'):
        generate_shapes(tmp_path, num_train=1, num_val=1, size=32)
    assert files(tmp_path) == before


@pytest.mark.parametrize('argument', [{'num_train': 0}, {'num_val': -1}, {'size': 8}, {'seed': -1}])
def test_bad_arguments(tmp_path, argument):
    name, value = *argument, *argument.values()
    with pytest.raises(UserError, match=f'{name} is {value}'):
        generate_shapes(tmp_path / 'set', **argument)


def test_nothing_is_left_half(tmp_path, monkeypatch):
    def full_disk(*args):
        raise OSError('no space left')

    monkeypatch.setattr(shapes.cv2, 'imwrite', full_disk)
    with pytest.raises(OSError, match='no space'):
        generate_shapes(tmp_path / 'set', num_train=1, num_val=1, size=32)
    assert not list(tmp_path.iterdir())


def test_manifest_names_the_arguments(dataset):
    manifest = json.loads((dataset / shapes.MANIFEST).read_text())
    assert manifest['train'] == 60 and manifest['val'] == 8 and manifest['seed'] == 0
