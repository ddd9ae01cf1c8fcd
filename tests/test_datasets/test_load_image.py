"""LoadImageFromFile: the stock image, or one sentence about the broken file."""

import io

import cv2
import mmcv.transforms
import numpy as np
import pytest
from mmengine.registry import DefaultScope
from PIL import Image

from mmspike.datasets import LoadImageFromFile, transforms
from mmspike.datasets.transforms import is_complete
from mmspike.engine import UserError
from mmspike.registry import TRANSFORMS


def encode(kind, size=64, **options):
    pixels = np.random.default_rng(0).integers(0, 255, (size, size, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def jpeg_with_thumbnail():
    """A JPEG whose EXIF segment holds a small, complete JPEG."""
    exif = b'Exif\x00\x00' + encode('jpeg', size=8)
    segment = b'\xff\xe1' + (len(exif) + 2).to_bytes(2, 'big') + exif
    plain = encode('jpeg')
    return plain[:2] + segment + plain[2:]


FILES = {
    'jpeg': encode('jpeg'),
    'progressive': encode('jpeg', progressive=True),
    'thumbnail': jpeg_with_thumbnail(),
    'png': encode('png'),
}


@pytest.mark.parametrize('name', FILES)
def test_whole_files_load_as_in_mmcv(tmp_path, name):
    path = tmp_path / 'image'
    path.write_bytes(FILES[name])
    ours = TRANSFORMS.build(dict(type='mmspike.LoadImageFromFile', to_float32=True))
    stock = mmcv.transforms.LoadImageFromFile(to_float32=True)
    ours, stock = (loader(dict(img_path=str(path))) for loader in (ours, stock))
    assert ours.keys() == stock.keys() and np.array_equal(ours['img'], stock['img'])


@pytest.mark.parametrize('share', [0.7, 0.99])
@pytest.mark.parametrize('name', FILES)
def test_cut_files_are_refused(tmp_path, name, share):
    path = tmp_path / 'image'
    path.write_bytes(FILES[name][: int(share * len(FILES[name]))])
    with pytest.raises(UserError, match=f"'{path}' is truncated after"):
        LoadImageFromFile()(dict(img_path=str(path)))


@pytest.mark.parametrize(
    'content, reason',
    [(b'', 'is empty'), (b'no image at all', 'cannot be read'), (None, 'No such file')],
)
def test_other_broken_files(tmp_path, content, reason):
    path = tmp_path / 'image'
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=reason):
        LoadImageFromFile()(dict(img_path=str(path)))


def test_ignore_empty_keeps_its_meaning(tmp_path):
    assert LoadImageFromFile(ignore_empty=True)(dict(img_path=str(tmp_path / 'none'))) is None


def test_bytes_behind_the_end_do_no_harm():
    """Phones append films to their pictures."""
    assert is_complete(FILES['jpeg'] + b'film \xff\xda\xff\xc0 more film')
    assert is_complete(FILES['png'] + bytes(100))


@pytest.mark.parametrize('shape', [(8, 8), (8, 8, 3)])
@pytest.mark.parametrize('kind', ['png', 'tif'])
def test_10_to_14_bits_in_sixteen_are_refused_and_sixteen_are_not(tmp_path, kind, shape):
    paths = {bits: str(tmp_path / f'{bits}.{kind}') for bits in (10, 12, 14, 16)}
    pixels = {}
    for bits, path in paths.items():
        pixels[bits] = np.full(shape, 2**bits - 1, np.uint16)
        pixels[bits][:4] //= 4
        cv2.imwrite(path, pixels[bits])
    loaded = LoadImageFromFile()(dict(img_path=paths[16]))['img']
    assert loaded.max() == 255 and loaded.min() in (63, 64)
    for bits in (10, 12, 14):
        for options in (dict(), dict(to_float32=True), dict(imdecode_backend='cv2')):
            with pytest.raises(UserError, match=f"{bits}.{kind}' has 16 bits a channel and uses"):
                LoadImageFromFile(**options)(dict(img_path=paths[bits]))
    stored = LoadImageFromFile(color_type='unchanged')(dict(img_path=paths[10]))['img']
    assert np.array_equal(stored, pixels[10])


def test_a_dark_picture_of_eight_bits_is_one(tmp_path):
    for value in (0, 3):
        cv2.imwrite(str(tmp_path / 'night.png'), np.full((8, 8, 3), value, np.uint8))
        loaded = LoadImageFromFile()(dict(img_path=str(tmp_path / 'night.png')))
        assert loaded['img'].max() == value


@pytest.mark.parametrize('name', ['LoadImageFromFile', 'mmspike.LoadImageFromFile'])
def test_tools_of_mmdet_know_the_loader(name):
    """They compare classes; both names mean ours."""
    datasets = pytest.importorskip('mmdet.datasets', reason='the tool is of mmdet')
    from mmdet.registry import TRANSFORMS as MMDET_TRANSFORMS

    pipeline = [dict(type=name), dict(type='LoadAnnotations'), dict(type='PackDetInputs')]
    with DefaultScope.overwrite_default_scope('mmdet'):
        assert datasets.get_loading_pipeline(pipeline) == pipeline[:2]
        assert MMDET_TRANSFORMS.get(name) is LoadImageFromFile
    assert mmcv.transforms.LoadImageFromFile is not LoadImageFromFile


def save_turned(path, orientation, size=(40, 20)):
    """Write a picture of which the left half is red as stored, and its EXIF."""
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    pixels[:, : size[0] // 2, 0] = 255
    tag = Image.Exif()
    tag[0x0112] = orientation
    Image.fromarray(pixels).save(path, exif=tag, quality=95)
    return str(path)


@pytest.fixture
def said(monkeypatch):
    """What is warned of, from the first time on."""
    texts = []
    monkeypatch.setattr(LoadImageFromFile, '_warned', set())
    monkeypatch.setattr(transforms, 'print_log', lambda text, **options: texts.append(text))
    return texts


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('suffix', ['jpg', 'png'])
def test_boxes_and_the_orientation_of_exif(tmp_path, said, orientation, suffix):
    """A box around the red half is around it as loaded, whichever size the annotations state."""
    path = save_turned(tmp_path / f'a.{suffix}', orientation)
    told = dict(img_path=path, width=40, height=20, instances=[])
    loaded = LoadImageFromFile()(told)
    assert loaded['img'].shape == (20, 40, 3)
    assert loaded['img_shape'] == loaded['ori_shape'] == (20, 40)
    if orientation == 1 or orientation >= 5:
        assert loaded['img'][:, :18, 2].min() > 200 and loaded['img'][:, 22:, 2].max() < 50
        assert bool(said) == (orientation >= 5) or suffix == 'png'
        assert not said or 'its boxes are for 40x20 pixels, as stored: it is loaded so' in said[0]
    else:  # Nothing tells; mmcv's way is kept.
        assert len(said) == 1 and f"EXIF orientation {orientation} of '{path}'" in said[0]
        LoadImageFromFile()(told)
        assert len(said) == 1, 'said once'
    if orientation >= 5:  # Sizes as shown: the boxes are for the turned image, as mmcv loads it.
        turned = LoadImageFromFile()(dict(img_path=path, width=20, height=40, instances=[]))
        stock = mmcv.transforms.LoadImageFromFile()(dict(img_path=path))
        np.testing.assert_array_equal(turned['img'], stock['img'])


def test_label_maps_and_the_orientation_of_exif(tmp_path, said):
    path, labels = save_turned(tmp_path / 'a.jpg', 6), tmp_path / 'labels.png'
    for size in ((40, 20), (20, 40)):
        Image.new('L', size).save(labels)
        loaded = LoadImageFromFile()(dict(img_path=path, seg_map_path=str(labels)))
        assert loaded['img'].shape[1::-1] == size
    (text,) = said
    assert 'its label map is for 40x20 pixels, as stored' in text
    path = save_turned(tmp_path / 'a.jpg', 6, (20, 20))
    Image.new('L', (20, 20)).save(labels)
    LoadImageFromFile()(dict(img_path=path, seg_map_path=str(labels)))
    assert 'whether its label map went along' in said[1]
    assert (
        LoadImageFromFile(color_type='color_ignore_orientation')(
            dict(img_path=path, seg_map_path=str(labels))
        )['img'][:, :8, 2].min()
        > 200
    )
    assert len(said) == 2


def test_other_sizes_than_the_annotations_state(tmp_path):
    path = save_turned(tmp_path / 'a.jpg', 1)
    with pytest.raises(UserError, match="a.jpg' is 20 pixels wide and 40 high, but it is 40 and"):
        LoadImageFromFile()(dict(img_path=path, width=20, height=40, instances=[]))
    turned = save_turned(tmp_path / 'b.jpg', 6)
    with pytest.raises(UserError, match='is 20 pixels wide and 40 high, but it is 40 and 20'):
        LoadImageFromFile(color_type='color_ignore_orientation')(
            dict(img_path=turned, width=20, height=40, instances=[])
        )


def save_pages(path, *pages):
    images = [Image.fromarray(page) for page in pages]
    images[0].save(path, save_all=True, append_images=images[1:])


def test_a_stack_of_pages_is_refused(tmp_path):
    """Of which one page would be learnt; a smaller copy of the picture is no other page."""
    page = np.full((8, 6, 3), 90, np.uint8)
    path = tmp_path / 'stack.tif'
    save_pages(path, page)
    assert np.array_equal(LoadImageFromFile().transform(dict(img_path=str(path)))['img'], page)
    save_pages(path, page, page[::2, ::2])
    assert np.array_equal(LoadImageFromFile().transform(dict(img_path=str(path)))['img'], page)
    save_pages(path, page, page, page)
    with pytest.raises(UserError, match='stack.tif.* is a stack of 3 pages'):
        LoadImageFromFile().transform(dict(img_path=str(path)))
