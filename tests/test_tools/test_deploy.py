"""The testing tool merges the model when asked to."""

from types import SimpleNamespace

import cli
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import Runner
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmspike.analysis.spike_driven import randomize_norms
from mmspike.checks.weights import unwrap
from mmspike.commands import test as own_test
from mmspike.hosts.mmdet import MMDet

from .conftest import ROOT, arguments

pytest.importorskip('mmdet', reason='a model of mmdet')
CONFIG = ROOT / 'configs' / 'mask_rcnn_metaspike-tiny_t1_shapes.py'
SMALL = [
    'model.backbone.arch.dims=[8,8,8,8,8]',
    'model.backbone.arch.depths=[1,1,1,1,1]',
    'model.backbone.time_steps=2',
    'model.neck.in_channels=[8,8,8,8]',
    'model.test_cfg.rpn.max_per_img=20',
    'model.test_cfg.rcnn.score_thr=0.0',
    'test_dataloader.num_workers=0',
    'test_dataloader.persistent_workers=False',
]


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    config = Config.fromfile(CONFIG)
    options = [o for o in SMALL if o.startswith('model')]
    config.merge_from_dict({k: eval(v) for k, v in (o.split('=') for o in options)})
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = randomize_norms(MODELS.build(config.model))
    file = tmp_path_factory.mktemp('merged') / 'model.pth'
    torch.save({'state_dict': model.state_dict()}, file)
    return file


@pytest.mark.parametrize('flags', [[], ['--tta']])
@pytest.mark.parametrize('form', ['spike', 'fast'])
def test_the_merged_model_is_what_is_tested(shapes, checkpoint, tmp_path, monkeypatch, form, flags):
    """That both compute the same, in double precision, is tested where they are merged."""
    monkeypatch.setattr(Runner, 'test', lambda self: self)
    if flags:
        monkeypatch.setattr(MMDet, 'use_tta', lambda self, config: wrap(config))
    argv = arguments(shapes, tmp_path, *SMALL, config=CONFIG)
    runner = cli.test([argv[0], str(checkpoint), '--deploy', form, *flags, *argv[1:]])
    model = unwrap(runner.model)
    assert (model is runner.model) == (not flags)
    assert not [m for m in model.modules() if isinstance(m, _BatchNorm)]
    weights = torch.load(checkpoint)['state_dict']
    stem, norm = ('backbone.downsamplings.0.' + part for part in ('conv.weight', 'norm.'))
    scale = weights[norm + 'weight'] / (weights[norm + 'running_var'] + 1e-5).sqrt()
    expected = weights[stem] * scale.view(-1, 1, 1, 1)
    torch.testing.assert_close(model.backbone.downsamplings[0].weight, expected)


def wrap(config):
    """Test-time augmentation as mmdet has it, without its refusal of masks."""
    config.model = dict(type='DetTTAModel', module=config.model, tta_cfg=None)


def test_an_unknown_form(capsys):
    with pytest.raises(SystemExit):
        cli.test(['a.py', 'b.pth', '--deploy', 'chip'])
    assert "invalid choice: 'chip'" in capsys.readouterr().err


def test_norms_that_stay_are_named(monkeypatch):
    """As those of RetinaNet's and RTMDet's levels, which share a convolution."""
    said = []
    monkeypatch.setattr(own_test, 'print_log', lambda text, **options: said.append(text))
    for norm, stays in ((nn.GroupNorm(2, 4), True), (nn.Identity(), False)):
        model = nn.Sequential(nn.Conv2d(3, 4, 1), norm).eval()
        runner = SimpleNamespace(model=model, load_or_resume=lambda: None)
        own_test.deploy(runner, 'fast')
        assert runner.model is not model
        assert len(said) == stays
        assert not stays or said[0].startswith(
            '--deploy fast leaves 1 norms as they are, such as 1'
        )
        said.clear()
