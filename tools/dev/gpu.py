#!/usr/bin/env python3
"""Check and time mmspike on a GPU, on a bare machine and in a few minutes.

    python3 tools/dev/gpu.py --wheels wheels               # on the GPU machine
    python3 tools/dev/gpu.py --device cpu --dry-run        # tiny, on any machine

It needs Python 3.11 or newer, torch built for CUDA with numpy, and this checkout; no network. What
else is missing comes from a folder of wheels: `bare_machine.py`, beside this file, says how to
gather them and what it replaces. The result says which way was taken.

Each step is on its own: one that fails is written down with its error, one that the budget has no
time for is written down as left out, and the next one runs. `gpu.json` and `gpu.md` in the folder
hold what is known so far after every row; the tables of `gpu.md` go into docs/performance.md.
"""

import argparse
import datetime
import json
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib import import_module
from itertools import product
from pathlib import Path
from types import SimpleNamespace as Plan
from unittest.mock import patch

import torch
from bare_machine import StandIn, one_line, stand_in, unpack
from torch import Tensor, nn

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ('numpy', 'triton', 'cv2', 'mmengine', 'mmcv', 'mmdet', 'mmseg', 'spikingjelly', 'cupy')
SIDES = ('compiled', 'plain', 'twin', 'spikingjelly')
TINY = dict(dims=(8, 16, 32, 32, 32), depths=(1, 1, 1, 1, 1), heads=4)
# Each in full and in the dry run; where there are two numbers, pictures and pixels of a side.
SIZES = dict(
    repeats=(20, 1),
    copied=(2**28, 2**18),
    checked=((16, 64, 56, 56), (4, 8, 6, 6)),
    neuron=((8, 256), (2, 8)),
    archs=(('15m', '55m'), (TINY, TINY)),
    backbone=((32, 224), (2, 32)),
    semantic_fpn=('semantic_fpn_metaspike_ade20k', 'semantic_fpn_metaspike-tiny_t1_shapes'),
    mask_rcnn=('mask_rcnn_metaspike_coco', 'mask_rcnn_metaspike-tiny_t1_shapes'),
    crop=((512, 512), (64, 64)),
    picture=((800, 1333), (64, 64)),
    sides=(SIDES, SIDES[::2]),  # Of whole models.
)
# Share of spikes that may differ from the CPU's, and the gradient's error relative to its norm; the
# keys are whether in bfloat16, and whether behind a norm. Compiled kernels keep single precision
# where bfloat16 is rounded in every operation, and a norm sums in another order: both move
# potentials that lie at the threshold.
LIMITS = {(0, 0): (0.0, 1e-5), (0, 1): (1e-4, 1e-2), (1, 0): (1e-2, 0.1), (1, 1): (1e-2, 0.1)}


class OutOfTime(BaseException):
    """The budget ended within a step; no ordinary exception, so that nobody falls back on it."""

    @classmethod
    def throw(cls, *_: object) -> None:
        raise cls


def compare(plan: Plan, make: Callable, sides: Sequence[str], **what: object) -> Iterator[dict]:
    """Time sides in turn, built by `make` of their names; a row says so of one that fails."""
    from mmspike.commands.benchmark import summarize, take_turns

    cuda, runs, peaks, errors = plan.device.startswith('cuda'), {}, {}, {}
    for name in sides:
        try:
            run = make(name)
            run()
            if cuda:  # What a run allocates there; of a CPU nothing is known.
                torch.cuda.synchronize()
                idle = torch.cuda.memory_allocated()
                torch.cuda.reset_peak_memory_stats()
                run()
                peaks[name] = round((torch.cuda.max_memory_allocated() - idle) / 2**20)
            runs[name] = run
        except Exception as error:  # Of a package or of the device: the others still run.
            errors[name] = one_line(error)
    timed = summarize(take_turns(runs, plan.repeats, plan.device)) if runs else {}
    for name in sides:
        row = {**what, 'side': name, 'ms': errors.get(name), 'to the first': '', 'peak, MiB': ''}
        if name in timed:
            row['ms'], row['peak, MiB'] = f'{1e3 * timed[name]["median"]:.4g}', peaks.get(name, '')
            row['to the first'] = f'{timed[name]["ratio"]:.3g}'
        yield row


def own_neuron(name: str) -> dict:
    """The config of a side's neuron."""
    from mmspike.commands.benchmark import OTHER_NEURONS

    return {'type': 'mmspike.LIF', **OTHER_NEURONS[name.partition(',')[0]]}


def through(name: str, run: Callable[[], None]) -> Callable[[], None]:
    """Let a side of SpikingJelly 2 run its neuron through the backend in its name, on a GPU."""
    side, _, backend = name.partition(', ')
    if side != 'spikingjelly':
        return run
    from spikingjelly._ops.lif import _selection

    chosen: dict = {}

    def again() -> None:  # It chooses once a process, and keeps the choice here.
        _selection._requested, _selection._selections = backend or 'auto', chosen
        run()

    return again


def bandwidth(plan: Plan) -> float:
    """Measure what the device copies in its own memory, bytes a second, read and written."""
    source = torch.randn(plan.copied, device=plan.device)
    target = torch.empty_like(source)
    (row,) = compare(plan, lambda _: lambda: target.copy_(source), ['copy'])
    return 2 * source.nbytes / (float(row['ms']) / 1e3)


def machine(plan: Plan) -> Iterator[dict]:
    """What is there."""
    for name in PACKAGES:
        try:
            module = import_module(name)
            absent = isinstance(module, StandIn)
            found = 'absent: a stand-in' if absent else getattr(module, '__version__', 'there')
        except Exception as error:  # Whatever an import may raise is worth a row.
            found = one_line(error)
        yield {'part': name, 'found': found}
    yield {'part': 'Python', 'found': sys.version.split()[0]}
    yield {'part': "mmcv's operators", 'found': stand_in()}
    yield {'part': 'copy, GB/s read and written', 'found': f'{bandwidth(plan) / 1e9:.4g}'}


def fire(layer: nn.Module, x: Tensor, grad: Tensor, device: str) -> tuple[Tensor, Tensor]:
    """Run forward and backward; return spikes and the input's gradient on the CPU."""
    x = x.to(device, copy=True).requires_grad_()
    spikes = layer.to(device)(x)
    spikes.backward(grad.to(device))
    return spikes.detach().cpu().float(), x.grad.cpu().float()


def neurons(plan: Plan) -> Iterator[dict]:
    """Spikes and gradients against the plain loop on the CPU."""
    from mmspike.neurons import LIF

    generator = torch.Generator().manual_seed(0)
    x, grad = (torch.randn(plan.checked, generator=generator) for _ in range(2))
    for time_steps, bf16, normed in product((1, 4), (False, True), (False, True)):
        dtype, results = torch.bfloat16 if bf16 else torch.float32, {}
        for form, device in (('CPU', 'cpu'), ('plain', plan.device), ('compiled', plan.device)):
            norm = nn.BatchNorm2d(plan.checked[1]) if normed else nn.Identity()
            layer = nn.Sequential(
                norm, LIF(time_steps, backend='inductor' if form == 'compiled' else 'torch')
            )
            results[form] = fire(layer, (2 * x).to(dtype), grad.to(dtype), device)
        spikes, gradient = results.pop('CPU')
        for form, (own, own_gradient) in results.items():
            differ = (own != spikes).float().mean().item()
            error = ((own_gradient - gradient).norm() / gradient.norm()).item()
            most, largest = LIMITS[bf16, normed]
            row = dict(neuron=form, T=time_steps, bf16=bf16) | {'behind a norm': normed}
            row |= {'spikes that differ': f'{differ:.2g}', 'error of gradient': f'{error:.2g}'}
            yield row | {'within limits': differ <= most and error <= largest}


def neuron_time(plan: Plan) -> Iterator[dict]:
    """The neuron alone, and how near it comes to a copy."""
    from mmengine.config import Config

    from mmspike.commands.benchmark import NEURON_CHANNELS, prepare

    most, (batch, size) = bandwidth(plan), plan.neuron
    backends = ('triton', 'cuda', 'torch') if plan.device.startswith('cuda') else ('torch',)
    sides = [*SIDES[:-1], *(f'spikingjelly, {backend}' for backend in backends)]

    def make(time_steps: int, bf16: bool, what: str, name: str) -> Callable[[], None]:
        backbone = dict(time_steps=time_steps, neuron=own_neuron(name))
        config = Config(dict(model=dict(backbone=backbone)))
        return through(name, prepare(config, what, [size], batch, plan.device, bf16))

    for case in product((1, 4), (False, True), ('neuron-inference', 'neuron')):
        time_steps, bf16, what = case
        # Read x, write spikes; to train write potentials, read them and the gradient, write x's.
        arrays, width = 6 if what == 'neuron' else 2, 2 if bf16 else 4
        least = arrays * width * time_steps * batch * NEURON_CHANNELS * size**2 / most
        named = dict(T=time_steps, bf16=bf16, what=what)
        for row in compare(plan, partial(make, *case), sides, **named):
            share = f'{1e3 * least / float(row["ms"]):.2f}' if row['to the first'] else ''
            yield {**row, 'of the copy': share}


def backbone(plan: Plan, arch: object, time_steps: int, train: bool, **options: object) -> Callable:
    """Build a backbone, and return a function that runs it in bfloat16."""
    from mmspike.registry import MODELS

    kind = dict(type='mmspike.MetaSpikeFormer', arch=arch, time_steps=time_steps)
    torch.manual_seed(0)
    model = MODELS.build({**kind, **options}).to(plan.device).train(train)
    batch, size = plan.backbone
    x = torch.randn(batch, 3, size, size, device=plan.device)
    cast = torch.autocast(plan.device.partition(':')[0], torch.bfloat16)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6)

    def run() -> None:
        with torch.set_grad_enabled(train), cast:
            outs = model(x)
        if train:
            sum(out.float().mean() for out in outs).backward()
            optimizer.step()
            optimizer.zero_grad()

    return run


def backbones(plan: Plan) -> Iterator[dict]:
    """15M and 55M in bfloat16."""

    def make(arch: object, time_steps: int, train: bool, name: str) -> Callable[[], None]:
        run = backbone(plan, arch, time_steps, train, neuron=own_neuron(name))
        return through(name, run)

    sizes = zip(('15M', '55M'), plan.archs, strict=True)
    for (size, arch), time_steps, train in product(sizes, (1, 4), (False, True)):
        what = dict(arch=size, T=time_steps, what='training' if train else 'inference')
        yield from compare(plan, partial(make, arch, time_steps, train), SIDES, **what)


def whole_model(plan: Plan, name: str, size: tuple, bf16: bool) -> Iterator[dict]:
    """A training iteration of 2 pictures of noise, as tools/benchmark.py runs it."""
    from mmspike.commands.benchmark import prepare
    from mmspike.config import load_config

    def make(time_steps: int, side: str) -> Callable[[], None]:
        config = load_config(ROOT / 'configs' / f'{name}.py')
        parts = config.model.backbone
        parts.neuron = {**(parts.get('neuron') or {}), **own_neuron(side)}
        parts.time_steps = time_steps
        return through(side, prepare(config, 'train', size, 2, plan.device, bf16))

    for time_steps in (1, 4):
        what = dict(T=time_steps, bf16=bf16, pixels='x'.join(map(str, size)))
        yield from compare(plan, partial(make, time_steps), plan.sides, **what)


def semantic_fpn(plan: Plan) -> Iterator[dict]:
    """Its training iteration."""
    return whole_model(plan, plan.semantic_fpn, plan.crop, True)


def mask_rcnn(plan: Plan) -> Iterator[dict]:
    """Its training iteration, where there are operators for it."""
    if (source := stand_in()).startswith('none'):
        raise RuntimeError(f'Mask R-CNN needs RoIAlign and NMS: {source}')
    return whole_model(plan, plan.mask_rcnn, plan.picture, plan.device != 'cpu')


def choices(plan: Plan) -> Iterator[dict]:
    """The 15M backbone with one choice after the other made differently."""
    from mmspike.models import spiking_backbone

    def make(time_steps: int, train: bool, name: str) -> Callable[[], None]:
        options = dict(neuron=own_neuron(name), channels_last='channels last' in name)
        run = backbone(plan, plan.archs[0], time_steps, train, **options)

        def unchecked() -> None:
            with patch.object(spiking_backbone, 'check_pixels', lambda x: None):
                run()

        return unchecked if 'no pixel check' in name else run

    sides = ['compiled', 'compiled, no pixel check', 'compiled, channels last']
    for time_steps, train in product((1, 4), (False, True)):
        what = dict(T=time_steps, what='training' if train else 'inference')
        own = partial(make, time_steps, train)
        yield from compare(plan, own, [*sides, 'plain', 'plain, channels last'], **what)


# Each with the seconds that it is expected to need: a guess, until somebody has run it.
STEPS: dict[str, tuple[Callable[[Plan], Iterator[dict]], int]] = {
    'machine': (machine, 10),
    'neurons': (neurons, 60),
    'neuron time': (neuron_time, 60),
    'backbones': (backbones, 100),
    'Semantic FPN': (semantic_fpn, 50),
    'Mask R-CNN': (mask_rcnn, 60),
    'choices': (choices, 50),
}


def write(folder: Path, about: dict, outcomes: list[dict]) -> None:
    """Write down what is known so far, as JSON and as tables."""
    (folder / 'gpu.json').write_text(json.dumps(dict(about=about, steps=outcomes), indent=1) + '\n')
    lines = ['{device}, torch {torch}, {date}: `{command}`'.format(**about), '']
    for outcome in outcomes:
        lines += ['### {name}: {status}, {seconds:.0f} s'.format(**outcome), '']
        lines += [outcome['reason'], ''] if outcome['reason'] else []
        if rows := outcome['rows']:
            table = [list(rows[0]), ['--'] * len(rows[0]), *(row.values() for row in rows)]
            lines += [*(f'| {" | ".join(map(str, row))} |' for row in table), '']
    (folder / 'gpu.md').write_text('\n'.join(lines))


def run_step(plan: Plan, outcome: dict, left: float, save: Callable[[], None]) -> None:
    """Run a step until its end, its failure or the end of the budget; save after each row."""
    start, before = time.monotonic(), signal.signal(signal.SIGALRM, OutOfTime.throw)
    signal.setitimer(signal.ITIMER_REAL, left)
    try:
        for row in STEPS[outcome['name']][0](plan):
            outcome['rows'].append(row)
            outcome['seconds'] = time.monotonic() - start
            save()
        timed = [row['to the first'] for row in outcome['rows'] if 'side' in row]
        outcome['status'] = 'done'
        if timed and not any(timed):
            outcome.update(status='failed', reason='no side ran')
    except OutOfTime:
        outcome.update(status='cut short', reason='the budget ended within it')
    except Exception as error:  # The next step runs whatever this one met.
        outcome.update(status='failed', reason=one_line(error))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    outcome['seconds'] = time.monotonic() - start
    if broken := getattr(sys.modules.get('mmspike.neurons.lif.inductor'), '_broken', None):
        outcome['reason'] += f' Compiled neurons ran as plain loops: {broken[0][:300]}'


def main(argv: Sequence[str] | None = None) -> int:
    """Run the steps; return 0 if those that ran ended well and the neurons agree."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--device', default='cuda:0')
    parser.add_argument('--budget', type=float, default=470, help='seconds (default: 470)')
    parser.add_argument('--wheels', type=Path, help='folder of wheels for what is missing')
    parser.add_argument('--out-dir', type=Path, default=ROOT / 'work_dirs' / 'gpu')
    parser.add_argument('--dry-run', action='store_true', help='tiny sizes, one repeat')
    parser.add_argument('--steps', nargs='+', choices=STEPS, default=list(STEPS))
    args = parser.parse_args(argv)
    start, cuda = time.monotonic(), args.device.startswith('cuda')
    about = dict(
        device=torch.cuda.get_device_name(args.device) if cuda else 'CPU',
        torch=torch.__version__,
        date=str(datetime.date.today()),
        command=' '.join(['python3 tools/dev/gpu.py', *(sys.argv[1:] if argv is None else argv)]),
    )
    args.out_dir.mkdir(parents=True, exist_ok=True)
    outcomes: list[dict] = []
    sizes = {name: size[args.dry_run] for name, size in SIZES.items()}
    plan = Plan(device=args.device, **sizes)
    save = partial(write, args.out_dir, about, outcomes)
    with tempfile.TemporaryDirectory() as folder:
        sys.path.insert(0, str(ROOT))
        if args.wheels:
            unpack(args.wheels, folder)
        stand_in()
        if cuda:  # Forms, precisions and T are more kinds of one function than it compiles else.
            from torch import _dynamo

            _dynamo.config.recompile_limit = 128
        for name in args.steps:
            outcome = dict(name=name, status='running', seconds=0.0, reason='', rows=[])
            outcomes.append(outcome)
            save()
            left = args.budget - (time.monotonic() - start)
            needed = 0 if args.dry_run else STEPS[name][1]
            if left <= needed:
                reason = f'{max(left, 0):.0f} s were left, and it takes about {needed} s'
                outcome.update(status='left out', reason=reason)
            else:
                run_step(plan, outcome, left, save)
            save()
            print(f'{name}: {outcome["status"]} {outcome["reason"]}'.strip(), flush=True)
    agree = all(row.get('within limits', True) for outcome in outcomes for row in outcome['rows'])
    return int(not agree or any(outcome['status'] == 'failed' for outcome in outcomes))


if __name__ == '__main__':
    sys.exit(main())
