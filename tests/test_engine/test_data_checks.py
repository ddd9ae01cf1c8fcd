"""The files a config names are looked for, whatever wraps the dataset."""

import pytest
from mmengine.config import Config, ConfigDict
from mmengine.dataset import BaseDataset, ConcatDataset, RepeatDataset
from PIL import Image
from torch.utils.data import DataLoader

from mmspike.engine import UserError, checks
from mmspike.engine.checks import check_data, check_images


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
    monkeypatch.setattr(checks, 'print_log', lambda text, **options: texts.append(text))
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
