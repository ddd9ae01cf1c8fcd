"""Classification: every picture of the folders, labels that are classes, and no top-5 of three."""

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope
from torch import nn

from mmspike.checks import label_maps, labels
from mmspike.checks.labels import check_labels
from mmspike.commands.common import leave_out_topk, use_checked_datasets
from mmspike.errors import UserError

pytest.importorskip('mmpretrain.datasets', reason='datasets of mmpretrain')
NAMES = ('ant', 'bee', 'cat')


def build(**options):
    config = Config(dict(test_dataloader=dict(dataset=dict(type='CustomDataset', **options))))
    use_checked_datasets(config, ['test'])
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return DATASETS.build(config.test_dataloader.dataset)


@pytest.fixture
def folders(tmp_path):
    for name in NAMES:
        (tmp_path / name).mkdir()
        for file in ('0.png', '1.JPG', '2.webp', '3.TIFF'):
            cv2.imwrite(str(tmp_path / name / file), np.zeros((4, 4, 3), np.uint8))
    return tmp_path


@pytest.fixture
def said(monkeypatch):
    lines = []
    for module in (label_maps, labels):
        monkeypatch.setattr(module, 'print_log', lambda text, **_: lines.append(text))
    return lines


def test_pictures_of_every_suffix_are_used(folders, said):
    dataset = build(data_root=str(folders))
    label_maps.tell_passed_over(dataset)
    assert len(dataset) == 12 and not said
    for name in ('0.heic', '.hidden'):
        (folders / 'bee' / name).write_text('x')
    (folders / 'notes.txt').write_text('x')
    label_maps.tell_passed_over(build(data_root=str(folders)))
    assert len(said) == 1 and 'hold 1 files' in said[0] and '0.heic' in said[0]
    label_maps.tell_passed_over(build(data_root=str(folders), extensions=['.png']))
    assert 'hold 10 files that do not end in .png' in said[1]


@pytest.mark.parametrize('classes, outputs', [(NAMES, None), (None, 3)])
@pytest.mark.parametrize('first, wrong', [(0, None), (1, 3), (-1, -1)])
def test_labels_of_a_list(folders, said, classes, outputs, first, wrong):
    lines = [f'{name}/0.png {label}' for label, name in enumerate(NAMES, first)]
    (folders / 'list.txt').write_text('\n'.join(lines))
    metainfo = dict(classes=classes) if classes else None
    dataset = build(data_root=str(folders), ann_file='list.txt', metainfo=metainfo)
    model = nn.Module()
    model.head = nn.Module()
    model.head.num_classes = outputs
    if wrong is None:
        check_labels(dataset, model)
        assert not said
    else:
        with pytest.raises(UserError, match=f'list.txt.*label {wrong}, .* go from 0 to 2'):
            check_labels(dataset, model)


def test_labels_from_one_with_an_output_too_many(folders, said):
    lines = [f'{name}/0.png {label}' for label, name in enumerate(NAMES, 1)]
    (folders / 'list.txt').write_text('\n'.join(lines))
    model = nn.Module()
    model.head = nn.Module()
    model.head.num_classes = 4
    check_labels(build(data_root=str(folders), ann_file='list.txt'), model)
    assert len(said) == 1 and 'has the label 0' in said[0]


@pytest.mark.parametrize(
    'classes, given, left', [(3, (1, 5), (1,)), (5, (1, 5), (1, 5)), (3, (5,), (1,)), (3, 1, 1)]
)
def test_top_k_of_fewer_classes(classes, given, left):
    metric = dict(type='Accuracy', topk=given)
    head = dict(num_classes=classes, topk=given)
    others = dict(val_evaluator=metric, test_evaluator=[metric, dict(type='Own')])
    config = Config(dict(model=dict(head=head), **others))
    leave_out_topk(config)
    parts = config.val_evaluator, config.test_evaluator[0], config.model.head
    assert [part.topk for part in parts] == [left] * 3
