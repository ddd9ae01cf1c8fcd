"""The energy command: its files, tables of rates, real images and bad input."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS, DefaultScope
from PIL import Image

from mmspike.analysis.energy_report import draw, read_rates
from mmspike.analysis.spike_driven import randomize_norms
from mmspike.commands.energy import energy
from mmspike.engine import load_config
from mmspike.errors import UserError

TINY = dict(dims=(4, 8, 16, 16, 24), depths=(1, 1, 1, 2, 1), heads=4)
ROOT = Path(__file__).parents[2]
CLASSIFIER = ROOT / 'configs' / 'metaspike-31m_t4_in1k.py'


def run(tmp_path, *options, config=CLASSIFIER):
    return energy([str(config), *options, '--out-dir', str(tmp_path / 'out')])


def tiny_config(tmp_path, *lines):
    file = tmp_path / 'tiny.py'
    arch = dict(TINY, _delete_=True)
    text = f"_base_ = ['{CLASSIFIER}']\nmodel = dict(backbone=dict(arch={arch!r}), head=dict("
    file.write_text('\n'.join([text + 'in_channels=24))', *lines]))
    return file


@pytest.fixture
def written(tmp_path):
    pytest.importorskip('mmpretrain', reason='a config of mmpretrain')
    config = tiny_config(tmp_path)
    run(tmp_path, '--size', '32', config=config)
    return config, tmp_path / 'out' / 'energy.csv'


def test_the_files_agree_and_a_table_of_rates_comes_round(written, tmp_path):
    config, table = written
    with open(table) as file:
        rows = list(csv.DictReader(file))
    for i, row in enumerate(rows):
        if row['operation'] == 'AC':
            row.update({f't{t + 1}': (i + t) * 37 % 61 / 100 + 0.01 for t in range(4)}, average='')
    rates = tmp_path / 'rates.csv'
    with open(rates, 'w', newline='') as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    found = run(tmp_path, '--rates', str(rates), '--size', '32', config=config)
    expected = sum(
        float(row['energy'])
        if row['operation'] == 'MAC'
        else float(row['flops']) * sum(float(row[f't{t + 1}']) for t in range(4)) * 0.9e-9
        for row in rows
    )
    assert found.total() == pytest.approx(expected)
    told = json.loads((tmp_path / 'out' / 'energy.json').read_text())
    assert told['total'] == pytest.approx(expected)
    assert sum(layer['energy'] for layer in told['layers']) == pytest.approx(expected)
    assert {layer['nonzero'] for layer in told['layers']} == {None}, 'rates do not tell it'
    markdown = (tmp_path / 'out' / 'energy.md').read_text()
    assert f'{found.total(every_step=True):.4g} mJ' in markdown
    assert 'Stage 3 | Block 1 | SDSA RepConv-1/2/3' in markdown
    assert (tmp_path / 'out' / 'energy.png').stat().st_size > 10_000
    cheaper = run(tmp_path, '--rates', str(rates), '--size', '32', '--e-ac', '0.45', config=config)
    macs = told['parts']['backbone']['macs'] * 4.6e-9
    assert cheaper.total() - macs == pytest.approx((found.total() - macs) / 2)


@pytest.fixture
def pictures(tmp_path):
    """Five pictures in the folders of their classes, and the config of a classifier of them."""
    pytest.importorskip('mmpretrain', reason='a config of mmpretrain')
    root = tmp_path / 'shapes'
    rng = np.random.default_rng(0)
    for number, name in enumerate(['circle', 'rectangle', 'triangle', 'circle', 'circle']):
        folder = root / 'crops' / 'val' / name
        folder.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (32, 32, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f'{number}.png')
    config = tmp_path / 'shapes.py'
    base = ROOT / 'configs' / 'metaspike-tiny_t1_shapes.py'
    config.write_text(f"_base_ = ['{base}']\n")
    return config, root


@pytest.mark.slow
def test_real_images_from_a_folder_and_from_the_config(pictures, tmp_path, capsys):
    config, root = pictures
    options = ['--cfg-options', f'data_root={root}']
    circles = root / 'crops' / 'val' / 'circle'
    one = run(tmp_path, '--images', str(circles / '0.png'), *options, config=config)
    of_folder = run(
        tmp_path, '--images', str(circles), '--num-images', '2', *options, config=config
    )
    of_config = run(tmp_path, '--num-images', '4', *options, config=config)
    assert [found.images for found in (one, of_folder, of_config)] == [1, 2, 4]
    first, of_two = (float(found.costs[0].macs.sum()) for found in (one, of_folder))
    assert of_two == 2 * first > 0
    assert 'the rates of an untrained network' in capsys.readouterr().out


def test_a_table_of_rates_of_a_classifier_is_for_224_pixels(written, tmp_path):
    config, table = written
    found = run(tmp_path, '--rates', str(table), config=config)
    stem = found.costs[0]
    assert float(stem.macs[0]) == 4 * 3 * 7 * 7 * 112 * 112  # Of 224 pixels at stride 2.


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda rows: rows.pop(3), r"the rates lack 'Stage \w+ / Block 1 / .*'; add a row"),
        (
            lambda rows: rows[3].update(operator='Conv9'),
            "name 'Stage .* / Conv9', which is no layer of the model",
        ),
        (lambda rows: rows[3].update(t2='1.2'), "have '1.2' in line 5, but a firing rate is a"),
        (lambda rows: rows[3].update(t2='x'), "have 'x' in line 5, but a firing rate is a number"),
        (lambda rows: rows[3].update(t4=''), 'gives? .* 3 values, but it has 4 time steps'),
        (
            lambda rows: [row.pop('operator') for row in rows],
            'cannot be read .no column operator.; give',
        ),
    ],
)
def test_bad_tables(written, tmp_path, change, message):
    config, table = written
    with open(table) as file:
        rows = list(csv.DictReader(file))
    change(rows)
    with open(table, 'w', newline='') as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    with pytest.raises(UserError, match=message):
        run(tmp_path, '--rates', str(table), '--size', '32', config=config)


def test_the_rates_of_the_paper_s_table_11(tmp_path):
    """The paper prints 32.8 mJ; at T = 1 it is 7.8 mJ, and 5.5 without SepConv."""
    pytest.importorskip('mmpretrain', reason='a config of mmpretrain')
    table = ROOT / 'tests' / 'data' / 'paper_table11.csv'
    whole = run(tmp_path, '--rates', str(table))
    assert whole.total(every_step=True) == pytest.approx(32.91, abs=0.005)
    assert whole.total() == pytest.approx(31.69, abs=0.005)
    sep_conv = [t for t in whole.costs if t.layer.operator.startswith('SepConv')]
    saved = sum(whole.millijoule(cost) for cost in sep_conv) / whole.total(every_step=True)
    assert 100 * saved == pytest.approx(30.2, abs=0.05)


def test_silent_layers_are_marked_and_a_dead_network_is_not_praised(tmp_path, capsys):
    pytest.importorskip('mmpretrain', reason='a config of mmpretrain')
    config = tiny_config(tmp_path)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = randomize_norms(MODELS.build(load_config(config).model))

    def told(name):
        torch.save({'state_dict': model.state_dict()}, tmp_path / name)
        run(tmp_path, str(tmp_path / name), '--size', '64', config=config)
        table = json.loads((tmp_path / 'out' / 'energy.json').read_text())
        rows = list(csv.DictReader((tmp_path / 'out' / 'energy.csv').read_text().splitlines()))
        lines = (tmp_path / 'out' / 'energy.md').read_text().splitlines()
        marked = sum('| silent |' in line for line in lines)
        assert marked == sum(row['values'] == 'silent' for row in rows) == table['silent_layers']
        printed = capsys.readouterr().out
        assert printed.count(' silent │') == marked
        assert (table['warning'] is None) == ('never fired' not in printed)
        if table['warning']:
            assert table['warning'] in printed and f'- {table["warning"]}' in lines
        return table

    lively = told('lively.pth')
    count = len(lively['layers']) - 1  # The first sees the picture.
    assert (lively['silent_layers'], lively['spiking_layers']) == (0, count)
    torch.nn.init.constant_(model.backbone.stages[0][0].channel_mixer[0].norm.bias, -1e3)
    one = told('one.pth')
    assert one['silent_layers'] == 1
    assert one['ratio'] > 0
    assert one['warning'] == (
        f'1 of {count} spiking layers never fired: they cost nothing here, and may be dead'
    )
    for norm in (m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)):
        torch.nn.init.constant_(norm.bias, -1e3)
    dead = told('dead.pth')
    silent = dead['silent_layers']
    assert count / 2 < silent < count  # Large negative shifts and weights below 0 make spikes too.
    assert dead['warning'] == (
        f'{silent} of {count} spiking layers never fired: these figures say nothing of a trained '
        'model'
    )
    assert dead['ratio'] is None


def test_the_picture_marks_silent_layers():
    row = dict(stage='Stage 1a', block='', operator='Conv', average=0.0, energy=0.0)
    rows = [
        dict(row, values='silent'),
        dict(row, values='spikes', average=0.25),
        dict(row, values='analog', average=None),
        dict(row, values='silent', average=None),
    ]
    left, _ = draw(rows).axes
    assert [text.get_text() for text in left.texts] == ['silent', '0.25', 'analog', 'no input']
    assert [text.get_color() == 'crimson' for text in left.texts] == [True, False, False, False]
    colors = [label.get_color() for label in left.get_yticklabels()]
    assert colors == ['crimson', 'black', 'black', 'black']


def test_a_rate_above_1_is_a_mean_count_of_integers(tmp_path):
    table = tmp_path / 'rates.csv'
    table.write_text('stage,block,operator,average,values\nneck,,conv,1.5,integers\n')
    assert read_rates(table) == {('neck', '', 'conv'): [1.5]}
    for values, rate in (('spikes', 1.5), ('integers', -1)):
        table.write_text(f'stage,block,operator,average,values\nneck,,conv,{rate},{values}\n')
        with pytest.raises(UserError, match=f"have '{rate}' in line 2"):
            read_rates(table)


@pytest.mark.parametrize('options', [['--e-ac', '-1'], ['--e-mac', 'nan'], ['--e-ac', 'inf']])
def test_costs_are_refused_before_anything_is_built(options):
    with pytest.raises(UserError, match=f'{options[1]}.* must be picojoule above 0; give what'):
        energy(['no_config.py', *options])


def test_bad_input(tmp_path):
    pytest.importorskip('mmpretrain', reason='a config of mmpretrain')
    config = tiny_config(tmp_path)
    with pytest.raises(UserError, match='--num-images is 0, but at least 1'):
        run(tmp_path, '--num-images', '0', config=config)
    for rates in ([], ['--rates', str(tmp_path / 'rates.csv')]):
        (tmp_path / 'rates.csv').write_text('stage,block,operator,average\nneck,,conv,0.1\n')
        with pytest.raises(UserError, match='--size is 0, but an image has at least 1 pixel; give'):
            run(tmp_path, '--size', '0', *rates, config=config)
    with pytest.raises(UserError, match='e_mac=0.0 and e_ac=0.9 must be picojoule above 0'):
        run(tmp_path, '--size', '32', '--e-mac', '0', config=config)
    (tmp_path / 'empty').mkdir()
    with pytest.raises(UserError, match='holds no image'):
        run(tmp_path, '--images', str(tmp_path / 'empty'), config=config)
    with pytest.raises(UserError, match="Rates 'none.csv' cannot be read"):
        run(tmp_path, '--rates', 'none.csv', config=config)
    torch.save({'state_dict': {'backbone.x': torch.ones(1)}}, tmp_path / 'other.pth')
    with pytest.raises(UserError, match='other.pth.* is of another model'):
        run(tmp_path, str(tmp_path / 'other.pth'), '--size', '32', config=config)
    with pytest.raises(UserError, match='is a ReLU, which does not spike'):
        options = ['--size', '32', '--cfg-options', 'model.backbone.neuron.type=ReLU']
        run(tmp_path, *options, config=config)
    with pytest.raises(UserError, match="Data folder '.*' is not there"):
        run(tmp_path, '--cfg-options', 'data_root=/nowhere', config=config)


def test_a_model_without_a_spiking_backbone(tmp_path):
    pytest.importorskip('mmseg', reason='a config of mmseg')
    config = ROOT / 'configs' / 'semantic_fpn_resnet18_camvid.py'
    with pytest.raises(UserError, match='EncoderDecoder has no spiking neuron'):
        run(tmp_path, '--size', '64', config=config)
