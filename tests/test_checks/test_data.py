"""The files a config names are looked for, whatever wraps the dataset."""

import re

import numpy as np
import pytest
from mmengine.config import Config, ConfigDict
from mmengine.dataset import BaseDataset, ConcatDataset, RepeatDataset
from PIL import Image
from torch.utils.data import DataLoader

from mmspike.checks import data as checks
from mmspike.checks import label_maps
from mmspike.checks.data import check_data, check_images
from mmspike.engine import UserError


def config(root, **dataset):
    inner = dict(type='X', data_root=str(root), **dataset)
    wrapped = dict(type='RepeatDataset', dataset=dict(type='ConcatDataset', datasets=[inner]))
    return Config(
        dict(
            train_dataloader=dict(dataset=wrapped),
            val_dataloader=None,
            test_evaluator=[dict(ann_file=f'{root}/test.json')],
        )
    )


def test_annotation_file_under_wrappers(tmp_path):
    settings = config(tmp_path, ann_file='a/train.json')
    with pytest.raises(UserError, match=f"'{tmp_path}/a/train.json' is not there.*data_root="):
        check_data(settings, ['train', 'val'])
    (tmp_path / 'a').mkdir()
    (tmp_path / 'a' / 'train.json').touch()
    check_data(settings, ['train', 'val'])


def test_folders(tmp_path):
    with pytest.raises(UserError, match="Data folder '.*none' is not there"):
        check_data(config(tmp_path / 'none', ann_file='x'), ['train'])
    prefix = dict(img_path='images', seg_map_path='maps')
    (tmp_path / 'images').mkdir()
    with pytest.raises(UserError, match="Label folder '.*maps' is not there"):
        check_data(config(tmp_path, data_prefix=prefix), ['train'])


def test_evaluator_and_untouched_splits(tmp_path):
    settings = config(tmp_path, ann_file='none')
    with pytest.raises(UserError, match='Annotation file of the evaluator'):
        check_data(settings, ['test'])
    check_data(settings, ['val'])


def test_remote_and_self_made_data_are_left_alone(tmp_path):
    check_data(config('s3://bucket', ann_file='a', data_prefix=dict(img='b')), ['train'])
    check_data(config(tmp_path / 'downloaded_later'), ['train'])


class Listed(BaseDataset):
    """Names two images."""

    def load_data_list(self):
        return [dict(img_path=f'{self.data_root}/{name}') for name in ('a.png', 'b.png')]


@pytest.mark.parametrize(
    'wrap',
    [
        lambda dataset: dataset,
        lambda dataset: RepeatDataset(dataset, 3),
        lambda dataset: ConcatDataset([dataset, dataset]),
    ],
)
def test_images_of_built_datasets(tmp_path, wrap):
    dataset = wrap(Listed(data_root=str(tmp_path)))
    (tmp_path / 'a.png').write_bytes(b'x')
    with pytest.raises(UserError, match=r"b\.png', which is not there \(1 of 2"):
        check_images(dataset)
    (tmp_path / 'b.png').touch()
    with pytest.raises(UserError, match=r"b\.png' is empty \(0 bytes\)"):
        check_images(dataset)
    (tmp_path / 'b.png').write_bytes(b'x')
    check_images(dataset)


def test_missing_folder(tmp_path):
    with pytest.raises(UserError, match='2 of 2 files are missing'):
        check_images(Listed(data_root=str(tmp_path / 'none')))


def test_images_that_are_passed_over(tmp_path, monkeypatch):
    """A folder is searched for the one suffix, and upper case is another."""
    pytest.importorskip('mmseg', reason='its datasets search folders for a suffix')
    from mmseg.datasets import BaseSegDataset

    texts = []
    monkeypatch.setattr(label_maps, 'print_log', lambda text, **options: texts.append(text))
    for name in ('a.png', 'b.PNG', 'c.jpg', 'd_label.png', 'notes.txt', '.e.PNG'):
        Image.new('L', (4, 4)).save(tmp_path / name, 'png')

    def build(**options):
        prefix = dict(img_path=str(tmp_path))
        dataset = BaseSegDataset(data_prefix=prefix, pipeline=[], **options)
        loader = DataLoader(dataset)
        checks.build_dataset(lambda: loader, ConfigDict(dataset=dict()))
        return len(dataset)

    assert build(img_suffix='.png', seg_map_suffix='_label.png') == 2
    assert "holds 2 images that do not end in img_suffix ('.png'), such as '" in texts[0]
    assert "b.PNG'" in texts[0]
    (tmp_path / 'b.PNG').unlink(), (tmp_path / 'c.jpg').unlink()
    build(img_suffix='.png', seg_map_suffix='_label.png')
    assert len(texts) == 1


MAPS = {
    'all': [[0, 1], [1, 2], [0, 2]],
    'half of one ignored': [[0, 1], [255, 255, 2], [1, 2]],
    'only 0 and ignored': [[0, 255], [0, 1], [2, 1]],
    'one never': [[0, 1], [1, 0], [0, 1]],
    'one in three hundred': [[0, 1], *[[0, 1, 2]] * 299],
    'none but 0': [[0]] * 300,
}


@pytest.mark.parametrize(
    'maps, said',
    [
        ('all', None),
        ('half of one ignored', "train: 1 of 3 label maps looked at have .* as '.*001.png'"),
        ('only 0 and ignored', '1 of 3 label maps'),
        ('one never', 'train: no pixel in 3 label maps looked at is of class c, which will not'),
        ('one in three hundred', None),
        ('none but 0', 'no pixel in 60 label maps looked at is of class b, c, which'),
    ],
)
def test_what_label_maps_hold(tmp_path, monkeypatch, maps, said):
    pytest.importorskip('mmseg', reason='label maps are of its datasets')
    from mmseg.datasets import BaseSegDataset

    texts = []
    monkeypatch.setattr(label_maps, 'print_log', lambda text, **options: texts.append(text))
    for folder in ('images', 'labels'):
        (tmp_path / folder).mkdir()
    for number, ids in enumerate(MAPS[maps]):
        row = np.array([ids], np.uint8)
        for folder in ('images', 'labels'):
            Image.fromarray(row).save(tmp_path / folder / f'{number:03d}.png')
    dataset = BaseSegDataset(
        data_root=str(tmp_path),
        data_prefix=dict(img_path='images', seg_map_path='labels'),
        img_suffix='.png',
        metainfo=dict(classes=('a', 'b', 'c')),
        pipeline=[],
    )
    label_maps.look_at_label_maps(dataset, 'train')
    assert len(texts) == (said is not None)
    assert said is None or re.search(said, texts[0])


def test_label_maps_without_an_image(tmp_path, monkeypatch):
    pytest.importorskip('mmseg', reason='label maps are of its datasets')
    from mmseg.datasets import BaseSegDataset

    texts = []
    monkeypatch.setattr(label_maps, 'print_log', lambda text, **options: texts.append(text))
    for name in ('images/x/a.png', 'labels/x/a_l.png', 'labels/x/b_l.png', 'labels/x/c.png'):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new('L', (4, 4)).save(tmp_path / name)

    def look():
        dataset = BaseSegDataset(
            data_root=str(tmp_path),
            data_prefix=dict(img_path='images', seg_map_path='labels'),
            img_suffix='.png',
            seg_map_suffix='_l.png',
            pipeline=[],
        )
        label_maps.tell_passed_over(dataset)

    look()
    (text,) = texts
    assert 'holds 1 label maps of which there is no image' in text and 'b_l.png' in text
    Image.new('L', (4, 4)).save(tmp_path / 'images/x/b.png')
    look()
    assert len(texts) == 1
