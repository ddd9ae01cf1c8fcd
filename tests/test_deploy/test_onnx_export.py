"""onnxruntime computes what torch does, and a graph says what it can take."""

import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from narrow_models import narrow

from mmspike.analysis.spike_driven import randomize_norms
from mmspike.deploy import reparameterize
from mmspike.deploy.onnx_export import (
    Network,
    compare,
    export_onnx,
    export_program,
    require,
    run_session,
)
from mmspike.errors import UserError
from mmspike.models.backbones import MetaSpikeFormer

for package in ('onnx', 'onnxscript', 'onnxruntime'):
    pytest.importorskip(package, reason='the extra [export]')
ROOT = Path(__file__).parents[2]
TINY = dict(dims=(4, 8, 8, 8, 8), depths=(1, 1, 1, 1, 1), heads=2)
GRID = 256


def on_a_grid(model):
    """Round weights so that every sum is exact in any order: no rounding can move a spike."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_((parameter * GRID).round() / GRID)
    return model


def pictures(*shape):
    return torch.randint(-32, 32, shape) / 16


def build(config, **backbone):
    pytest.importorskip(config.default_scope, reason='the library of this config')
    config.model.backbone.update(backbone)
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope(config.default_scope):
        return randomize_norms(MODELS.build(config.model).eval())


def session_of(folder):
    import onnxruntime

    return onnxruntime.InferenceSession(folder / 'model.onnx', providers=['CPUExecutionProvider'])


@pytest.fixture(scope='module')
def exported(tmp_path_factory):
    """A segmentor, whose files are in a folder, and what was told of it."""
    folder = tmp_path_factory.mktemp('onnx')
    model = build(Config.fromfile(ROOT / 'tests/tiny_segmentor.py'))
    model = on_a_grid(reparameterize(model, 'fast'))
    with torch.no_grad(), DefaultScope.overwrite_default_scope('mmseg'):
        lines = export_onnx(model, pictures(2, 3, 64, 96), folder)
    return model, folder, lines


# Another batch and another size than it was exported with.
@pytest.mark.parametrize('shape', [(2, 3, 64, 96), (3, 3, 128, 64)])
def test_onnxruntime_and_the_program_of_torch_give_the_same_bits(exported, shape):
    model, folder, _ = exported
    images = pictures(*shape)
    with torch.no_grad():
        own = model(images, mode='tensor')
        program = torch.export.load(folder / 'model.pt2').module()
        assert own.std() > 0.1
        assert torch.equal(run_session(session_of(folder), images)[0], own)
        assert torch.equal(program(images)[0], own)


def test_it_tells_what_the_graph_takes(exported):
    _, folder, lines = exported
    assert 'T = 2, any batch, height and width multiples of 16; outputs logits' in lines[0]
    assert lines[1] == 'onnxruntime against torch on 2 images: at most 0 apart'
    session = session_of(folder)
    told = session.get_modelmeta().custom_metadata_map
    assert told == dict(time_steps='2', mean='120, 120, 120', std='60, 60, 60', channels='RGB')
    assert [out.name for out in session.get_outputs()] == ['logits']
    assert str(ROOT).encode() not in (folder / 'model.onnx').read_bytes()


def test_a_difference_is_told(exported):
    model, folder, _ = exported
    with torch.no_grad():
        network = Network(model)
        network.model.decode_head.conv_seg.bias += 0.5
        line = compare(network, session_of(folder), pictures(2, 3, 64, 96))
    assert 'at most 0.5 apart, and 100.00% of the values by more than 0.0001' in line


def test_a_whole_backbone_with_attention_of_any_size():
    """By torch.export alone, from which the graph is made."""
    torch.manual_seed(0)
    backbone = randomize_norms(MetaSpikeFormer(TINY, time_steps=2, out_indices=(1, 4))).eval()
    network = Network(on_a_grid(reparameterize(backbone, 'fast')))
    with torch.no_grad():
        program, stride = export_program(network, pictures(1, 3, 32, 48))
        assert (stride, network.names) == (16, ['features_0', 'features_1'])
        images = pictures(2, 3, 64, 32)
        for out, own in zip(program.module()(images), network(images), strict=True):
            assert own.std() > 0.1 and torch.equal(out, own)


# The second is so small that a length of 1 is a special case to torch.
@pytest.mark.parametrize('size', [(40, 50), (16, 16)])
def test_a_size_that_cannot_change_is_the_only_one(size):
    torch.manual_seed(0)
    backbone = MetaSpikeFormer(TINY, time_steps=2, out_indices=(1,)).eval()
    with torch.no_grad():
        network = Network(backbone)
        program, stride = export_program(network, pictures(1, 3, *size))
        assert (stride, network.names) == (None, ['features_0'])
        images = pictures(3, 3, *size)
        (out,), (own,) = program.module()(images), network(images)
        assert torch.equal(out, own)
        with pytest.raises(AssertionError):
            program.module()(pictures(3, 3, 64, 64))


@pytest.mark.parametrize(
    'name, names',
    {
        'yolox_metaspike-tiny_t1_nuclei': ['cls_scores', 'bbox_preds', 'objectnesses'],
        'retinanet_metaspike_t1_coco': ['cls_scores', 'bbox_preds'],
        'mask_rcnn_metaspike-tiny_t1_shapes': ['features', 'rpn_cls_scores', 'rpn_bbox_preds'],
        'metaspike-tiny_t1_shapes': ['logits'],
    }.items(),
)
def test_the_raw_outputs_of_every_kind_of_head(name, names):
    config = Config.fromfile(next((ROOT / 'configs').glob(f'*{name}.py')))
    config.model = narrow(config)
    model = build(config, time_steps=2)
    network = Network(reparameterize(model, 'fast'))
    with torch.no_grad(), DefaultScope.overwrite_default_scope(config.default_scope):
        outs = network(pictures(2, 3, 64, 64))
    assert list(dict.fromkeys(name.rstrip('0123456789').rstrip('_') for name in network.names)) == (
        names
    )
    assert len(outs) == len(network.names)
    for name, out in zip(network.names, outs, strict=True):
        assert len(out) == (4 if 'features' in name else 2), name


def test_a_missing_package_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, 'onnxscript', None)
    with pytest.raises(UserError, match=r"package 'onnxscript'.* pip install \"mmspike\[export\]"):
        require('onnx', 'onnxscript')
