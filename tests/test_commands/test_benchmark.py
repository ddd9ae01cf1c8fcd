"""The benchmark times what it says, in turn, and compares with the median of ratios."""

import itertools
import json
import time
from pathlib import Path

import pytest
import torch

from mmspike.commands import benchmark as module
from mmspike.commands.benchmark import SpikingJellyLIF, benchmark, summarize, take_turns
from mmspike.commands.peak_memory import peak_above_idle
from mmspike.errors import UserError
from mmspike.hosts.batches import build_model
from mmspike.neurons import LIF

CONFIGS = Path(__file__).parents[2] / 'configs'
T, B = 3, 2
TINY = """
model = dict(
    type='mmspike.SpikeImageClassifier',
    data_preprocessor=dict(num_classes=4),
    backbone=dict(type='mmspike.MetaSpikeFormer', time_steps=2, out_indices=(4,),
                  arch=dict(dims=(8, 8, 8, 8, 8), depths=(1,) * 5, heads=2)),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='mmspike.SpikeLinearClsHead', in_channels=8, num_classes=4))
default_scope = 'mmpretrain'
"""


@pytest.fixture
def config(tmp_path):
    pytest.importorskip('mmpretrain', reason='a classifier of mmpretrain')
    file = tmp_path / 'tiny.py'
    file.write_text(TINY)
    return str(file)


def test_sides_run_in_turn_and_loads_that_come_and_go_cancel(monkeypatch):
    order, clock = [], itertools.count()
    runs = {name: lambda name=name: order.append(name) for name in 'ab'}
    # a takes 1, 2, 3 seconds and b twice that: the machine is slower from turn to turn.
    ticks = [0, 1, 1, 3, 3, 5, 5, 9, 9, 12, 12, 18]
    monkeypatch.setattr(module, '_now', lambda device: ticks[next(clock)])
    times = take_turns(runs, 3, 'cpu')
    assert order == list('abab' + 'ababab')  # Two rounds to warm up.
    assert times == {'a': [1, 2, 3], 'b': [2, 4, 6]}
    result = summarize(times)
    assert (result['a']['median'], result['b']['median']) == (2, 4)
    assert (result['a']['ratio'], result['b']['ratio']) == (1, 2)


@pytest.mark.parametrize('options', [dict(), dict(v_reset=None), dict(decay_input=False)])
def test_the_other_side_fires_the_same_spikes(options):
    pytest.importorskip('spikingjelly', reason='compared against in tests only')
    own = LIF(T, v_threshold=0.5, input_gain=2.0, **options)
    other = SpikingJellyLIF(T, v_threshold=0.5, input_gain=2.0, **options)
    x = torch.randn(T * B, 4, 5, dtype=torch.float64) * 3
    own_x, other_x = (x.clone().requires_grad_() for _ in range(2))
    spikes, others = own(own_x), other(other_x)
    assert 0.05 < spikes.mean() < 0.95
    assert torch.equal(spikes, others)
    weights = torch.randn_like(x)
    (spikes * weights).sum().backward()
    (others * weights).sum().backward()
    torch.testing.assert_close(own_x.grad, other_x.grad)
    assert torch.equal(other(x), others)  # Nothing is kept between calls.


@pytest.mark.parametrize('what', ['train', 'inference', 'neuron', 'neuron-inference'])
def test_the_command(config, tmp_path, capsys, what):
    argv = [config, '--against', 'twin', '--what', what, '--size', '32', '48', '--repeats', '2']
    result = benchmark([*argv, '--time-steps', '1', '3', '--out-dir', str(tmp_path / 'out')])
    assert list(result) == ['tiny', 'tiny (T = 1)', 'tiny (T = 3)', 'tiny (twin)']
    assert all(len(side['seconds']) == 2 and side['median'] > 0 for side in result.values())
    told = json.loads((tmp_path / 'out' / 'benchmark.json').read_text())
    assert told['sides'] == result
    assert told['about']['size'] == [32, 48]
    assert 'tiny (twin)' in capsys.readouterr().out


@pytest.mark.parametrize('library', ['mmdet', 'mmseg'])
def test_whole_models_train_on_noise(library, monkeypatch):
    pytest.importorskip(library, reason='the library of this config')
    name = dict(mmdet='mask_rcnn', mmseg='semantic_fpn')[library]
    config = module.load_config(CONFIGS / f'{name}_metaspike-tiny_t1_shapes.py')
    built = []

    def build(*given):
        built.append(build_model(*given))
        return built[-1]

    monkeypatch.setattr(module, 'build_model', build)
    step = module.prepare(config, 'train', [64], B, 'cpu')
    (model,) = built
    before = [p.clone() for p in model.parameters()]
    step()
    changed = sum(not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert changed > 0.5 * len(before)


def hold(megabytes):
    """What takes memory while it runs, and gives it back."""

    def run():
        block = torch.ones(megabytes * 2**18)  # Of 4 bytes each.
        time.sleep(0.1)
        del block

    return run


@pytest.mark.slow
def test_the_peak_of_memory():
    peaks = peak_above_idle(hold, (200,), 'cpu')
    assert 170 < peaks['resident'] < 500  # glibc before 2.38 does not reuse an aligned block.
    assert peaks['allocated'] == pytest.approx(200, abs=1)


def fail():
    raise RuntimeError('on purpose')


@pytest.mark.slow
def test_a_process_that_ends_without_an_answer():
    with pytest.raises(UserError, match='measures memory ended before its answer'):
        peak_above_idle(fail, (), 'cpu')


def test_bad_input(config, monkeypatch):
    with pytest.raises(UserError, match='--repeats is 0 and --batch 2, but both must be at least'):
        benchmark([config, '--repeats', '0'])
    with pytest.raises(UserError, match='--deploy merges a model for inference; add --what'):
        benchmark([config, '--deploy', 'fast', '--size', '32'])
    for size in (['0'], ['32', '0'], ['32', '48', '64']):
        with pytest.raises(UserError, match=f'--size is {" ".join(size)}, but .* height and width'):
            benchmark([config, '--size', *size])
    detector = CONFIGS / 'mask_rcnn_metaspike-tiny_t1_shapes.py'
    pytest.importorskip('mmdet', reason='a detector')
    with pytest.raises(UserError, match='--bf16 was given for a detector on a CPU'):
        benchmark([str(detector), '--bf16', '--size', '64', '--device', 'cpu'])
    monkeypatch.setitem(__import__('sys').modules, 'spikingjelly.activation_based', None)
    with pytest.raises(UserError, match='needs the package spikingjelly, which is not installed'):
        SpikingJellyLIF(T)
