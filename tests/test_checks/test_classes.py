"""A label is a place in a list of names: two lists that differ make the scores those of others."""

import pytest
from mmengine.dataset import BaseDataset, ConcatDataset, RepeatDataset

from mmspike.checks.classes import (
    check_same_classes,
    checkpoint_classes,
    classes_of,
)
from mmspike.errors import UserError


@pytest.mark.parametrize(
    'own, named',
    [
        (['ant', 'cat'], "class 'cat' is number 2 of the 3 classes of A, but number 1 of the 2"),
        (['bee', 'ant', 'cat'], "class 'bee' is number 1"),
        (['eel', 'ant', 'bee', 'cat'], "class 'ant' is number 0"),
    ],
)
def test_shifted_labels_are_refused(own, named):
    with pytest.raises(UserError) as caught:
        check_same_classes(['ant', 'bee', 'cat'], 'A', own, 'B')
    assert named in caught.value.sentence


def said(monkeypatch, *args):
    lines = []
    monkeypatch.setattr(
        'mmspike.checks.classes.print_log', lambda text, logger, level: lines.append(text)
    )
    check_same_classes(*args)
    return lines


def test_other_names_are_warned_of_once(monkeypatch):
    (line,) = said(monkeypatch, ['tv', 'sofa', 'cup'], 'A', ['tv', 'couch', 'mug'], 'B')
    assert "Class 1 is 'sofa' in A, but 'couch' in B" in line


@pytest.mark.parametrize('own', [['ant', 'bee', 'cat'], ('ant', 'bee'), []])
def test_lists_that_give_the_same_labels(monkeypatch, own):
    assert said(monkeypatch, ['ant', 'bee', 'cat'], 'A', own, 'B') == []


def test_where_the_classes_stand():
    dataset = BaseDataset(lazy_init=True, metainfo=dict(classes=('a', 'b')))
    concatenated = ConcatDataset([dataset], lazy_init=True)
    for wrapped in (dataset, concatenated, RepeatDataset(dataset, 2, lazy_init=True)):
        assert classes_of(wrapped) == ['a', 'b']
    assert checkpoint_classes(dict(meta=dict(dataset_meta=dict(CLASSES=('a',))))) == ['a']
    assert checkpoint_classes(dict(state_dict={})) == []
