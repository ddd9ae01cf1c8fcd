"""Every command takes a segmentor of one output, and of one class."""

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from threads import one_thread

from mmspike.analysis.spike_driven import randomize_norms
from mmspike.commands.benchmark import benchmark
from mmspike.commands.check import check
from mmspike.commands.energy import energy
from mmspike.commands.infer import infer
from mmspike.commands.serve import Demonstration
from mmspike.commands.spikes import spikes
from mmspike.commands.test import test as run_test

pytest.importorskip('mmseg', reason='runs its segmentors')
SEGMENTOR = Path(__file__).parents[1] / 'tiny_segmentor.py'
FORMS = {
    'out_channels=1': (2, "dict(type='CrossEntropyLoss', use_sigmoid=True)"),
    'num_classes=1': (1, "dict(type='CrossEntropyLoss')"),
}
DATA = """
_base_ = ['{base}']
head = dict(num_classes={classes}, out_channels=1, loss_decode={loss})
model = dict(data_preprocessor=dict(size=(32, 32)), decode_head=head)
names, colours = ('ground', 'thing')[-{classes}:], [[250, 0, 0], [0, 0, 250]][-{classes}:]
metainfo = dict(classes=names, palette=colours)
test_dataloader = dict(
    batch_size=1, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='BaseSegDataset', data_root='{root}', img_suffix='.png', metainfo=metainfo,
        data_prefix=dict(img_path='images', seg_map_path='maps'),
        pipeline=[dict(type='mmspike.LoadImageFromFile'), dict(type='mmspike.LoadSegAnnotations'),
                  dict(type='PackSegInputs')]))
test_evaluator, test_cfg = dict(type='IoUMetric'), dict()
"""
COMMANDS = {
    'infer': lambda c, w, i, out: infer([c, w, i, '--out-dir', out]),
    'spikes': lambda c, w, i, out: spikes([c, w, i, '--out-dir', out]),
    'energy': lambda c, w, i, out: energy([c, w, '--out-dir', out]),
    'check': lambda c, w, i, out: check([c, '--size', '32']),
    'benchmark': lambda c, w, i, out: benchmark([c, '--size', '32', '--repeats', '1']),
    'serve': lambda c, w, i, out: Demonstration(c, w, 'cpu', None, 0.3).page(Path(i).read_bytes()),
    'test': lambda c, w, i, out: run_test([c, w, '--work-dir', out, '--out', out]),
    'tta': lambda c, w, i, out: run_test([c, w, '--work-dir', out, '--tta']),
}


@pytest.fixture(scope='module', autouse=True)
def _one_thread():
    with one_thread():
        yield


@pytest.fixture(scope='module', params=FORMS)
def model(request, tmp_path_factory):
    """Config, weights and a picture."""
    root = tmp_path_factory.mktemp('one')
    classes, loss = FORMS[request.param]
    rng = np.random.default_rng(0)
    for folder in ('images', 'maps'):
        (root / folder).mkdir()
    cv2.imwrite(str(root / 'images' / 'a.png'), rng.integers(0, 255, (32, 32, 3), np.uint8))
    cv2.imwrite(str(root / 'maps' / 'a.png'), rng.integers(0, classes, (32, 32), np.uint8))
    config = root / 'model.py'
    config.write_text(DATA.format(base=SEGMENTOR, classes=classes, loss=loss, root=root))
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmseg'):
        built = MODELS.build(Config.fromfile(config).model)
    randomize_norms(built)
    torch.save(dict(state_dict=built.state_dict(), meta={}), root / 'model.pth')
    return request.param, str(config), str(root / 'model.pth'), str(root / 'images' / 'a.png')


@pytest.mark.parametrize('command', COMMANDS)
def test_it_runs(model, command, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['mmspike'])
    form, *files = model
    if form == 'num_classes=1' and command in ('test', 'tta'):
        pytest.skip('refused: nothing is to be told apart (test_settings.py)')
    COMMANDS[command](*files, str(tmp_path))
