"""Masks are what their file means, where COCO's code would draw something else."""

from copy import deepcopy

import cv2
import numpy as np
import pytest
from pycocotools import mask as masks

from mmspike.datasets import mask_mends
from mmspike.datasets.mask_mends import mend_masks

SIZE = (48, 64)


def picture(*shapes):
    """A mask of circles ``(x, y, radius)``; those of negative radius are cut out."""
    drawn = np.zeros(SIZE, np.uint8)
    for x, y, radius in shapes:
        cv2.circle(drawn, (x, y), abs(radius), int(radius > 0), -1)
    return drawn


def traced(mask):
    """The polygons of a mask and its holes through the centres of border pixels."""
    contours, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    return [contour.ravel().astype(float).tolist() for contour in contours]


def annotation(mask, polygons, **changes):
    box = masks.toBbox(masks.encode(np.asfortranarray(mask))).tolist()
    return dict(image_id=1, bbox=box, area=int(mask.sum()), segmentation=polygons) | changes


def load(segmentation):
    """What mmdet's loader and COCO's evaluation make of a mask."""
    if isinstance(segmentation, list):
        segmentation = masks.merge(masks.frPyObjects(segmentation, *SIZE))
    return masks.decode(segmentation)


def mended(*annotations):
    coco = dict(images=[dict(id=1, height=SIZE[0], width=SIZE[1])], annotations=list(annotations))
    mend_masks(coco)
    return [load(one['segmentation']) for one in coco['annotations']]


@pytest.fixture
def warned(monkeypatch):
    texts = []
    monkeypatch.setattr(mask_mends, 'warn', texts.append)
    return texts


SHAPES = [
    picture((20, 20, 9)),
    picture((20, 20, 1)),
    picture((30, 30, 12), (5, 5, 3)),
    picture((30, 24, 15), (30, 24, -6)),
    picture((30, 24, 20), (30, 24, -12), (30, 24, 5)),
]


@pytest.mark.parametrize('half_a_pixel', [0, 0.5])
def test_polygons_through_pixel_centres(half_a_pixel):
    """As OpenCV traces masks, with holes and parts in holes: the masks they were traced from."""
    found = mended(
        *(
            annotation(mask, [(np.array(p) + half_a_pixel).tolist() for p in traced(mask)])
            for mask in SHAPES
        )
    )
    for mask, drawn in zip(SHAPES, found, strict=True):
        np.testing.assert_array_equal(drawn, mask)


def test_polygons_that_are_right_stay():
    """The corners of pixels, and boxes drawn by hand around a polygon."""
    right = [
        dict(image_id=1, bbox=[x, 3, 9, 7], area=63, segmentation=[corners(x, 3, 9, 7)])
        for x in range(20)
    ]
    right[3]['bbox'] = [3, 3, 10, 8]  # One of twenty may be so by chance.
    coco = dict(images=[dict(id=1, height=48, width=64)], annotations=deepcopy(right))
    mend_masks(coco)
    assert coco['annotations'] == right


def corners(x, y, width, height):
    return [x, y, x + width, y, x + width, y + height, x, y + height]


def test_two_ways_in_one_file(warned):
    """Of a merged file those a pixel short are drawn again."""
    square = np.zeros(SIZE, np.uint8)
    square[5:15, 10:20] = 1
    as_coco = annotation(square, [corners(10, 5, 10, 10)])
    as_opencv = annotation(square, [corners(10, 5, 9, 9)])
    for drawn in mended(as_opencv, *([as_coco] * 4)):
        np.testing.assert_array_equal(drawn, square)


@pytest.mark.parametrize('area, pixels', [(400 - 64, 400 - 64), (400, 400), (464, 400)])
def test_a_polygon_inside_another(warned, area, pixels):
    """A hole if the area says so; else the union, as COCO's code has it, and a warning."""
    polygons = [corners(10, 10, 20, 20), corners(16, 16, 8, 8)]
    told = dict(image_id=1, bbox=[10, 10, 20, 20], area=area, segmentation=polygons)
    coco = dict(images=[dict(id=1, height=48, width=64)], annotations=[told])
    mend_masks(coco, 'told.json')
    drawn = load(told['segmentation'])
    assert drawn.sum() == pixels
    assert drawn[16:24, 16:24].any() == (pixels == 400)
    assert ('have holes' if pixels < 400 else 'which are filled') in warned[0]


def test_polygons_without_a_pixel(warned):
    """As simplified outlines of small masks are written; the object keeps its place."""
    line = [22.0, 22.5, 20.0, 19.5, 22.0, 22.5]
    told = dict(image_id=1, bbox=[20, 20, 3, 3], area=9, segmentation=[line])
    assert load([line]).sum() == 0
    coco = dict(images=[dict(id=1, height=48, width=64)], annotations=[told])
    mend_masks(coco, 'told.json')
    drawn = load(told['segmentation'])
    assert set(zip(*np.nonzero(drawn), strict=True)) == {(20, 20), (21, 21), (22, 22)}
    assert "1 of the 1 polygon masks in 'told.json' cover no pixel" in warned[0]


@pytest.mark.parametrize('polygon', [['a'] * 6, [None] * 6, [1, 2, 3, 4], 'here'])
def test_what_is_no_polygon_is_left_to_others(polygon):
    told = dict(image_id=1, bbox=[1, 2, 3, 4], area=5, segmentation=[polygon])
    coco = dict(images=[dict(id=1, height=9, width=9)], annotations=[deepcopy(told)])
    mend_masks(coco)
    assert coco['annotations'] == [told]


@pytest.mark.parametrize('shift', [100, -0.9])
def test_polygons_elsewhere_than_their_box_are_not_made_up(warned, shift):
    """Whatever they are, such as shares of the picture, an outline in the box is not their mask."""
    polygon = [20.0 + shift, 20.0, 20.2 + shift, 20.0, 20.1 + shift, 20.1]
    one = dict(image_id=1, bbox=[20, 20, 10, 10], area=60, segmentation=[polygon])
    assert not mended(one)[0].any()
