"""tools/spikes.py: what it writes for models of the three libraries, and what it refuses."""

import csv
import json
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from mmspike.analysis.backbone import LayerNames
from mmspike.analysis.spike_driven import randomize_norms
from mmspike.analysis.spike_pictures import draw_heat_maps, draw_rates, part_colors
from mmspike.commands.spikes import spikes as show_spikes
from mmspike.datasets.shapes import draw_scene
from mmspike.errors import UserError
from mmspike.models.backbones import MetaSpikeFormer

from .conftest import ROOT

SPIKING = ROOT / 'configs' / 'mask_rcnn_metaspike-tiny_t1_shapes.py'
COMMON = """
backbone = dict(type='mmspike.MetaSpikeFormer', time_steps=2, time_reduction='mean',
                arch=dict(dims=(8,) * 5, depths=(1,) * 5, heads=2), out_indices=(2,))
load = dict(type='mmspike.LoadImageFromFile')
"""
SEGMENTATION = f"""{COMMON}
default_scope = 'mmseg'
model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(type='SegDataPreProcessor', mean=[100.0, 110.0, 120.0], std=[50.0] * 3,
                           bgr_to_rgb=True, test_cfg=dict(size=(64, 96))),
    backbone=backbone, test_cfg=dict(mode='slide', crop_size=(32, 32), stride=(16, 16)),
    decode_head=dict(type='FCNHead', in_channels=8, in_index=0, channels=8, num_convs=1,
                     num_classes=2, norm_cfg=dict(type='BN')))
test_dataloader = dict(dataset=dict(
    type='BaseSegDataset', data_prefix=dict(img_path='', seg_map_path=''),
    metainfo=dict(classes=('a', 'b'), palette=[[0] * 3] * 2),
    pipeline=[load, dict(type='PackSegInputs')]))
"""
CLASSIFICATION = f"""{COMMON}
default_scope = 'mmpretrain'
model = dict(type='ImageClassifier', backbone=backbone, data_preprocessor=dict(
                 mean=[127.5] * 3, std=[50.0] * 3, to_rgb=True),
             neck=dict(type='GlobalAveragePooling'),
             head=dict(type='LinearClsHead', num_classes=3, in_channels=8))
test_dataloader = dict(dataset=dict(
    type='CustomDataset', data_prefix='images', metainfo=dict(classes=('a', 'b', 'c')),
    pipeline=[load, dict(type='CenterCrop', crop_size=32), dict(type='PackInputs')]))
"""


@pytest.fixture(scope='module')
def picture(tmp_path_factory):
    path = tmp_path_factory.mktemp('input') / 'scene.png'
    cv2.imwrite(str(path), draw_scene(np.random.default_rng(0), 64)[0][:48])
    return path


def prepare(scope, text, folder):
    """Write a config and the checkpoint of a lively model."""
    pytest.importorskip(scope, reason='runs a model of this library')
    config = folder / 'model.py'
    config.write_text(text)
    with DefaultScope.overwrite_default_scope(scope):
        model = randomize_norms(MODELS.build(Config.fromfile(config).model))
    torch.save(dict(state_dict=model.state_dict()), folder / 'model.pth')
    return [str(config), str(folder / 'model.pth')]


def run(argv, picture, out_dir, *options):
    show_spikes([*argv, str(picture), '--out-dir', str(out_dir), '--device', 'cpu', *options])
    table = json.loads((out_dir / 'firing_rates.json').read_text())
    for name in ('heat_maps.png', 'firing_rates.png'):
        assert cv2.imread(str(out_dir / name)).std() > 1, 'an empty picture'
    with open(out_dir / 'firing_rates.csv', newline='') as file:
        rows = list(csv.DictReader(file))
    assert [row['layer'] for row in rows] == [layer['layer'] for layer in table['layers']]
    assert [float(row['t2']) for row in rows] == [layer['rates'][1] for layer in table['layers']]
    return table


def test_detector_with_every_part(picture, tmp_path, capsys):
    """Without a checkpoint; the flat config of T = 1 runs at T = 2."""
    pytest.importorskip('mmdet', reason='runs a model of this library')
    options = ['--cfg-options', 'model.backbone.time_steps=2', 'model.test_cfg.rpn.max_per_img=20']
    table = run([str(SPIKING)], picture, tmp_path, *options)
    parts = list(dict.fromkeys(layer['part'] for layer in table['layers']))
    stages = [f'stage {name}' for name in ('1a', '1b', '2', '3', '4')]
    assert parts[:7] == [*stages, 'neck', 'rpn_head']
    assert all(len(layer['rates']) == 2 for layer in table['layers'])
    assert 'an untrained network' in capsys.readouterr().out


def test_segmentor_of_windows_is_shown_whole(picture, tmp_path):
    table = run(prepare('mmseg', SEGMENTATION, tmp_path), picture, tmp_path / 'out')
    assert {layer['part'] for layer in table['layers']} == {'stage 1a', 'stage 1b', 'stage 2'}
    assert all(layer['mean'] > 0 for layer in table['layers'][:4])
    assert all('.3.' in name or '.4.' in name for name in table['not_run'])


def test_classifier(picture, tmp_path):
    table = run(prepare('mmpretrain', CLASSIFICATION, tmp_path), picture, tmp_path / 'out')
    assert len(table['layers']) == 14  # Stages 1a, 1b and 2, and the downsampling before two.


def test_heat_maps_lie_over_the_picture_without_its_padding(picture, tmp_path, monkeypatch):
    """Stage 1a has stride 2: its map must be cut where the picture ends."""
    given = []
    monkeypatch.setattr(
        'mmspike.commands.spikes.draw_heat_maps',
        lambda recorder, names, image, padded: (
            given.append((recorder, names, image, padded))
            or draw_heat_maps(recorder, names, image, padded)
        ),
    )
    run(prepare('mmseg', SEGMENTATION, tmp_path), picture, tmp_path / 'out')
    recorder, names, image, padded = given[0]
    assert tuple(padded) == (64, 96)
    # Normalized, padded, and back: the picture itself, in RGB.
    assert np.abs(image.astype(int) - cv2.imread(str(picture))[..., ::-1]).max() <= 1
    figure = draw_heat_maps(recorder, names, image, padded)
    panels = [axes for axes in figure.axes if axes.images]
    assert len(panels) == 3 * 2, 'a row a stage that ran, a column a time step'
    for step in range(2):
        records = [
            r for name, r in recorder.records.items() if name.startswith('backbone.stages.0')
        ]
        spikes = sum(record.spike_map[step] for record in records)
        rates = (spikes / sum(record.map_units for record in records)).numpy()
        assert rates.max() > 0 and rates.shape == (32, 48)
        expected = rates.repeat(2, 0).repeat(2, 1)[:48, :64]
        shown = panels[step].images[1].get_array()
        assert np.allclose(shown, expected)


def test_silent_layers_are_marked():
    model = torch.nn.Module()
    model.backbone = MetaSpikeFormer(dict(dims=(4,) * 5, depths=(1,) * 5, heads=2))
    rates = {
        'backbone.stages.0.0.token_mixer.depthwise.neuron': torch.tensor([0.25, 0.5]),
        'backbone.downsamplings.1.conv.neuron': torch.tensor([0.0, 0.0]),
        'backbone.stages.3.1.token_mixer.key_neuron': torch.tensor([0.0, 0.0002]),
        'neck.fpn_convs.0.conv.neuron': torch.tensor([0.1, 0.1]),
    }
    axes = draw_rates(rates, LayerNames(model)).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        '1a  block 1  token_mixer.depthwise',
        '1b  downsampling',
        '3  block 2  token_mixer.key',
        'neck.fpn_convs.0',
    ]
    assert [text.get_text() for text in axes.texts] == ['37.5 %', 'silent', '0.01 %', '10.0 %']
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([0.375, 0, 0.0001, 0.1])


def test_every_part_has_a_colour_of_its_own():
    parts = ['stage 1a', 'stage 1b', 'stage 1a', 'neck', 'rpn_head', 'roi_head']
    colors = part_colors(parts)
    assert list(colors) == ['stage 1a', 'stage 1b', 'neck', 'rpn_head', 'roi_head']
    assert len(set(colors.values())) == len(colors)


@pytest.mark.parametrize(
    ('options', 'sentence'),
    [
        (['model.backbone.neuron.type=ReLU'], 'is a ReLU, which does not spike'),
        (['default_scope=none'], "default_scope of the config is 'none'"),
    ],
)
def test_refuses_in_one_sentence(picture, tmp_path, options, sentence):
    pytest.importorskip('mmdet', reason='runs a model of this library')
    with pytest.raises(UserError, match=sentence) as caught:
        run([str(SPIKING)], picture, tmp_path, '--cfg-options', *options)
    assert caught.value.sentence.count('\n') == 0


@pytest.mark.slow
def test_command(tmp_path, environment):
    tool = str(ROOT / 'tools' / 'spikes.py')
    done = subprocess.run(
        [sys.executable, tool, str(SPIKING), str(tmp_path / 'none.png')],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith(f"Error: Input '{tmp_path}/none.png'")
