"""LoadImageFromFile: the stock image, or one sentence about the broken file."""

import io

import cv2
import mmcv.transforms
import numpy as np
import pytest
from mmengine.registry import DefaultScope
from PIL import Image

from mmspike.datasets import LoadImageFromFile
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
