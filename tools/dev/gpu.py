#!/usr/bin/env python3
"""Check and time mmspike on a GPU, on a bare machine and in a few minutes.

    python3 tools/dev/gpu.py --wheels wheels --out-dir work_dirs/gpu     # on the GPU machine
    python3 tools/dev/gpu.py --device cpu --dry-run                      # tiny, on any machine

It needs Python 3.11 or newer, torch built for CUDA, numpy, and this checkout; no network. What else
it imports comes from the machine or, where that lacks it, from the wheels, which are only unpacked.
They are gathered where there is a network and the environment of tools/setup_env.py (28 MiB):

    export MMCV_WITH_OPS=0            # mmcv without operators: nothing is compiled
    P="--python-version 3.12 --platform manylinux_2_28_x86_64 --platform manylinux_2_27_x86_64"
    P="$P --platform manylinux2014_x86_64 --only-binary=:all:"
    .venv/bin/pip wheel --no-deps --no-build-isolation -w wheels \
        onedl-mmcv==2.3.6 onedl-mmdetection==3.5.1 onedl-mmsegmentation==1.4.2
    .venv/bin/pip download --no-deps -d wheels -c requirements/constraints.txt $P \
        onedl-mmengine addict yapf platformdirs rich termcolor markdown-it-py mdurl pygments \
        packaging terminaltables prettytable wcwidth tqdm ftfy regex six python-dateutil cycler \
        pyparsing lazy-importer loguru==0.7.3 spikingjelly==2.0.0 matplotlib kiwisolver contourpy \
        fonttools pillow pycocotools shapely psutil pyyaml

Two things are replaced where they are missing. OpenCV (52 MiB) is needed by imports alone here, so
an empty module stands in. mmcv's operators are torchvision's: RoIAlign and NMS are all that Mask
R-CNN takes. The result says which way was taken.

Each step is on its own: one that fails is written down with its error, one that the budget has no
time for is written down as left out, and the next one runs. `gpu.json` and `gpu.md` in the folder
hold what is known so far after every row; the tables of `gpu.md` go into docs/performance.md.
"""

import time

START = time.monotonic()

import argparse  # noqa: E402  # Importing torch takes part of the budget.
import datetime  # noqa: E402
import json  # noqa: E402
import signal  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
import zipfile  # noqa: E402
from collections.abc import Callable, Iterator, Sequence  # noqa: E402
from dataclasses import asdict, dataclass, field  # noqa: E402
from importlib import import_module  # noqa: E402
from importlib.machinery import ModuleSpec  # noqa: E402
from importlib.util import find_spec  # noqa: E402
from pathlib import Path  # noqa: E402
from types import ModuleType  # noqa: E402
from unittest.mock import MagicMock, patch  # noqa: E402

import torch  # noqa: E402
from torch import Tensor, nn  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
ONLY_IMPORTED = ('cv2',)  # Nothing here calls them.
REPORTED = ('numpy', 'triton', 'cv2', 'mmengine', 'mmcv', 'mmdet', 'mmseg', 'spikingjelly', 'cupy')
MIB = 2**20
TINY = dict(dims=(8, 16, 32, 32, 32), depths=(1, 1, 1, 1, 1), heads=4)
# Share of spikes that may differ from the CPU's, and the gradient's error relative to its norm.
# Compiled kernels keep single precision where bfloat16 is rounded in every operation, and a norm
# sums in another order: both move potentials that lie at the threshold.
LIMITS = {
    ('float32', False): (0.0, 1e-5),
    ('float32', True): (1e-4, 1e-2),
    ('bfloat16', False): (1e-2, 0.1),
    ('bfloat16', True): (1e-2, 0.1),
}


class OutOfTime(BaseException):
    """The budget ended within a step; no ordinary exception, so that nobody falls back on it."""


@dataclass
class Job:
    """What the steps share.

    Args:
        device: Where to run.
        dry: Run tiny, to see that all of it works.
    """

    device: str
    dry: bool

    @property
    def repeats(self) -> int:
        return 1 if self.dry else 20

    def pick(self, full: object, tiny: object) -> object:
        """Choose what the dry run takes."""
        return tiny if self.dry else full


@dataclass
class Outcome:
    """A step as it is written down: ``'done'``, ``'failed'``, ``'left out'`` or ``'running'``."""

    name: str
    status: str = 'running'
    seconds: float = 0.0
    reason: str = ''
    rows: list[dict] = field(default_factory=list)


class StandIns:
    """Finds empty modules for packages that are only imported; comes last, so a real one wins."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> object:
        if name.partition('.')[0] in ONLY_IMPORTED:
            return ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = ModuleType(spec.name)
        module.__getattr__ = self._attribute
        return module

    def exec_module(self, module: ModuleType) -> None:
        pass

    @staticmethod
    def _attribute(name: str) -> object:
        if name.startswith('__'):
            raise AttributeError(name)
        return MagicMock(name=name)


def unpack(wheels: Path, folder: str) -> None:
    """Unpack wheels and let Python find them behind all that the machine has."""
    for wheel in sorted(wheels.glob('*.whl')):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)
    sys.path.append(folder)


def provide_operators() -> str:
    """Give an mmcv without operators those of torchvision, and say where they come from."""
    try:
        import_module('mmcv._ext')
        return "mmcv's"
    except ImportError as error:
        if find_spec('mmcv') is None:
            return f'none ({error})'
    ops, ext = torch.ops.torchvision, ModuleType('mmcv._ext')

    def missing(name: str) -> Callable:
        if name.startswith('__'):
            raise AttributeError(name)

        def call(*_: object, **__: object) -> None:
            raise NotImplementedError(f'mmcv has no operators here, and it needs {name}')

        return call

    def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
        assert offset == 0, 'torchvision knows no offset'
        return ops.nms(boxes, scores, iou_threshold)

    def sampling(options: dict) -> tuple:
        assert options['pool_mode'] == 1, 'torchvision averages'
        size = options['aligned_height'], options['aligned_width']
        return options['spatial_scale'], *size

    def forward(x: Tensor, rois: Tensor, out: Tensor, *_: Tensor, **options: object) -> None:
        end = options['sampling_ratio'], options['aligned']
        out.copy_(ops.roi_align(x, rois, *sampling(options), *end))

    def backward(grad: Tensor, rois: Tensor, _: Tensor, __: Tensor, out: Tensor, **options) -> None:
        end = options['sampling_ratio'], options['aligned']
        out.copy_(ops._roi_align_backward(grad, rois, *sampling(options), *out.shape, *end))

    ext.__getattr__ = missing
    try:
        import_module('torchvision')
        assert ops.nms and ops.roi_align
        ext.nms, ext.roi_align_forward, ext.roi_align_backward = nms, forward, backward
        source = "torchvision's"
    except Exception as error:  # Whatever stops torchvision: the other steps need none.
        source = f'none ({one_line(error)})'
    sys.modules['mmcv._ext'] = ext
    return source


def one_line(error: BaseException) -> str:
    """The kind of an error and its first line."""
    text = str(error).strip().splitlines()
    return f'{type(error).__name__}: {text[0][:300] if text else ""}'


def peak(run: Callable[[], None], device: str) -> float | None:
    """Measure what a run allocates on a GPU at its peak, in MiB; nothing is known of a CPU."""
    if not device.startswith('cuda'):
        return None
    torch.cuda.synchronize(device)
    idle = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    run()
    torch.cuda.synchronize(device)
    return (torch.cuda.max_memory_allocated(device) - idle) / MIB


def compare(job: Job, sides: dict[str, Callable[[], Callable[[], None]]], **what) -> list[dict]:
    """Time functions in turn; a side that fails is a row with its error.

    Args:
        job: What the steps share.
        sides: For each side what makes the function.
        what: The first columns of each row.
    """
    from mmspike.apis.benchmark import summarize, take_turns

    runs, peaks, errors = {}, {}, {}
    for name, make in sides.items():
        try:
            runs[name] = make()
            runs[name]()
            peaks[name] = peak(runs[name], job.device)
        except Exception as error:  # Of a package or of the device: the others still run.
            runs.pop(name, None)
            errors[name] = one_line(error)
    timed = summarize(take_turns(runs, job.repeats, job.device)) if runs else {}
    rows = []
    for name in sides:
        side = timed.get(name, {})
        ms = f'{1e3 * side["median"]:.4g}' if side else errors[name]
        row = {**what, 'side': name, 'ms': ms, 'to the first': f'{side.get("ratio", 0):.3g}'}
        rows.append({**row, 'peak, MiB': f'{peaks[name]:.0f}' if peaks.get(name) else ''})
    return rows


def machine(job: Job) -> Iterator[dict]:
    """What is there."""
    cuda = job.device.startswith('cuda')
    yield {'part': 'GPU', 'found': torch.cuda.get_device_name(job.device) if cuda else 'none'}
    yield {'part': 'torch', 'found': torch.__version__}
    yield {'part': 'Python', 'found': sys.version.split()[0]}
    for name in REPORTED:
        try:
            module = import_module(name)
            found = getattr(module, '__version__', 'there')
            if isinstance(getattr(module, '__loader__', None), StandIns):
                found = 'absent, an empty module stands in'
        except Exception as error:  # Whatever an import may raise is worth a row.
            found = one_line(error)
        yield {'part': name, 'found': found}
    yield {'part': "mmcv's operators", 'found': provide_operators()}
    yield {'part': 'copy, GB/s read and written', 'found': f'{bandwidth(job) / 1e9:.4g}'}


def bandwidth(job: Job) -> float:
    """Measure what the device copies in its own memory, bytes a second, read and written."""
    from mmspike.apis.benchmark import summarize, take_turns

    source = torch.randn(job.pick(2**30, 2**20) // 4, device=job.device)
    target = torch.empty_like(source)
    times = take_turns({'copy': lambda: target.copy_(source)}, job.repeats, job.device)
    return 2 * source.nbytes / summarize(times)['copy']['median']


def fire(neuron: nn.Module, x: Tensor, grad: Tensor, device: str) -> tuple[Tensor, Tensor]:
    """Run a neuron forward and backward; return its spikes and the input's gradient on the CPU."""
    x = x.to(device, copy=True).requires_grad_()
    spikes = neuron.to(device)(x)
    spikes.backward(grad.to(device))
    return spikes.detach().cpu().float(), x.grad.cpu().float()


def neurons(job: Job) -> Iterator[dict]:
    """Spikes and gradients against the plain loop on the CPU."""
    from mmspike.neurons import LIF

    shape = job.pick((16, 64, 56, 56), (4, 8, 6, 6))
    x, grad = (torch.randn(shape, generator=torch.Generator().manual_seed(s)) for s in (0, 1))
    cases = [(t, d, n) for t in (1, 4) for d in (torch.float32, torch.bfloat16) for n in (0, 1)]
    for time_steps, dtype, normed in cases:

        def build(compile: bool, time_steps: int = time_steps, normed: int = normed) -> nn.Module:
            norm = [nn.BatchNorm2d(shape[1])] if normed else []
            return nn.Sequential(*norm, LIF(time_steps, compile=compile))

        given = (2 * x).to(dtype), grad.to(dtype)
        spikes, gradient = fire(build(False), *given, 'cpu')
        precision = str(dtype).removeprefix('torch.')
        most, largest = LIMITS[precision, bool(normed)]
        for name, compile in (('plain', False), ('compiled', True)):
            own, own_gradient = fire(build(compile), *given, job.device)
            differ = (own != spikes).float().mean().item()
            error = ((own_gradient - gradient).norm() / gradient.norm()).item()
            yield {
                'neuron': name + (', behind a norm' if normed else ''),
                'T': time_steps,
                'precision': precision,
                'spikes that differ': f'{differ:.2g}',
                "gradient's relative error": f'{error:.2g}',
                'within limits': 'yes' if differ <= most and error <= largest else 'NO',
            }


def spikingjelly_through(backend: str, run: Callable[[], None]) -> Callable[[], None]:
    """Let SpikingJelly 2 run its neuron through a backend on a GPU; it chooses once a process."""
    from spikingjelly._ops.lif import _selection

    chosen: dict = {}

    def again() -> None:
        _selection._requested, _selection._selections = backend, chosen
        run()

    return again


def neuron_time(job: Job) -> Iterator[dict]:
    """The neuron alone, and how near it comes to a copy."""
    from mmengine.config import Config

    from mmspike.apis.benchmark import NEURON_CHANNELS, OTHER_NEURONS, prepare

    size, batch = job.pick((256, 8), (8, 2))
    most = bandwidth(job)
    backends = ('triton', 'cuda', 'torch') if job.device.startswith('cuda') else ('torch',)
    cases = [(t, b, w) for t in (1, 4) for b in (False, True) for w in ('neuron-inference', 'neuron')]
    for time_steps, bf16, what in cases:

        def make(name: str, case: tuple = (time_steps, bf16, what)) -> Callable[[], None]:
            neuron = {'type': 'mmspike.LIF', **OTHER_NEURONS[name]}
            backbone = dict(time_steps=case[0], neuron=neuron)
            config = Config(dict(model=dict(backbone=backbone)))
            return prepare(config, case[2], [size], batch, job.device, case[1])

        sides = {name: lambda name=name: make(name) for name in ('compiled', 'plain', 'twin')}
        for backend in backends:
            sides[f'SpikingJelly, {backend}'] = lambda backend=backend: spikingjelly_through(
                backend, make('spikingjelly')
            )
        # Read x, write spikes; to train write potentials, read them and the gradient, write x's.
        arrays = 6 if what == 'neuron' else 2
        moved = arrays * time_steps * batch * NEURON_CHANNELS * size**2 * (2 if bf16 else 4)
        precision = 'bfloat16' if bf16 else 'float32'
        for row in compare(job, sides, what=what, T=time_steps, precision=precision):
            try:
                share = f'{moved / (float(row["ms"]) / 1e3) / most:.2f}'
            except ValueError:  # It failed, and says why.
                share = ''
            yield {**row, 'of the copy': share}


def backbone(job: Job, arch: str, time_steps: int, train: bool, **options) -> Callable[[], None]:
    """Build a backbone, and return a function that runs it in bfloat16."""
    from mmspike.registry import MODELS

    kind = 'mmspike.MetaSpikeFormer'
    cfg = dict(type=kind, arch=job.pick(arch, TINY), time_steps=time_steps, **options)
    torch.manual_seed(0)
    model = MODELS.build(cfg).to(job.device).train(train)
    size, batch = job.pick((224, 32), (32, 2))
    x = torch.randn(batch, 3, size, size, device=job.device)
    cast = torch.autocast(job.device.partition(':')[0], torch.bfloat16)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6)

    def infer() -> None:
        with torch.inference_mode(), cast:
            model(x)

    def step() -> None:
        with cast:
            loss = sum(out.float().mean() for out in model(x))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step if train else infer


def backbones(job: Job) -> Iterator[dict]:
    """15M and 55M, 32 pictures of 224x224, bfloat16."""
    from mmspike.apis.benchmark import OTHER_NEURONS

    cases = [(a, t, w) for a in ('15m', '55m') for t in (1, 4) for w in ('inference', 'training')]
    for arch, time_steps, what in cases:

        def make(name: str, case: tuple = (arch, time_steps, what == 'training')) -> Callable:
            return backbone(job, *case, neuron={'type': 'mmspike.LIF', **OTHER_NEURONS[name]})

        sides = {name: lambda name=name: make(name) for name in OTHER_NEURONS if name != 'plain'}
        sides = {'compiled': sides.pop('compiled'), 'plain': lambda: make('plain'), **sides}
        yield from compare(job, sides, arch=arch, what=what, T=time_steps)


def whole_models(job: Job, name: str, tiny: str, size: tuple, bf16: bool) -> Iterator[dict]:
    """A training iteration of 2 pictures with noise for a batch, as tools/benchmark.py does."""
    from mmspike.apis.benchmark import OTHER_NEURONS, prepare
    from mmspike.engine.config import load_config

    for time_steps in (1, 4):

        def make(neuron: str, time_steps: int = time_steps) -> Callable[[], None]:
            config = load_config(ROOT / 'configs' / f'{job.pick(name, tiny)}.py')
            own = dict(config.model.backbone.get('neuron') or {'type': 'mmspike.LIF'})
            config.model.backbone.neuron = {**own, **OTHER_NEURONS[neuron]}
            config.model.backbone.time_steps = time_steps
            return prepare(config, 'train', job.pick(size, (64, 64)), 2, job.device, bf16)

        wanted = job.pick(('compiled', 'plain', 'twin', 'spikingjelly'), ('compiled', 'twin'))
        sides = {neuron: lambda neuron=neuron: make(neuron) for neuron in wanted}
        precision = 'bfloat16' if bf16 else 'float32'
        yield from compare(job, sides, T=time_steps, precision=precision)


def semantic_fpn(job: Job) -> Iterator[dict]:
    """Training iterations at 512x512."""
    names = 'semantic_fpn_metaspike_ade20k', 'semantic_fpn_metaspike-tiny_t1_shapes'
    return whole_models(job, *names, (512, 512), True)


def mask_rcnn(job: Job) -> Iterator[dict]:
    """Training iterations at 1333x800."""
    names = 'mask_rcnn_metaspike_coco', 'mask_rcnn_metaspike-tiny_t1_shapes'
    if (source := provide_operators()).startswith('none'):
        raise RuntimeError(f"Mask R-CNN needs mmcv's operators or torchvision's: {source}")
    return whole_models(job, *names, (800, 1333), job.device != 'cpu')


def choices(job: Job) -> Iterator[dict]:
    """The 15M backbone with a choice the other way."""
    from mmspike.models.backbones import meta_spikeformer

    def unchecked(run: Callable[[], None]) -> Callable[[], None]:
        def again() -> None:
            with patch.object(meta_spikeformer, 'check_pixels', lambda x: None):
                run()

        return again

    for time_steps, what in ((1, 'inference'), (4, 'inference'), (4, 'training')):

        def make(compile: bool, last: bool, case: tuple = (time_steps, what == 'training')):
            neuron = dict(type='mmspike.LIF', compile=compile)
            return backbone(job, '15m', *case, neuron=neuron, channels_last=last)

        sides = {
            'compiled': lambda: make(True, False),
            'compiled, no pixel check': lambda: unchecked(make(True, False)),
            'compiled, channels last': lambda: make(True, True),
            'plain': lambda: make(False, False),
            'plain, channels last': lambda: make(False, True),
        }
        yield from compare(job, sides, what=what, T=time_steps)


# Each with the seconds that it is expected to need: a guess, until somebody has run it.
STEPS: dict[str, tuple[Callable[[Job], Iterator[dict]], int]] = {
    'machine': (machine, 10),
    'neurons': (neurons, 60),
    'neuron time': (neuron_time, 60),
    'backbones': (backbones, 100),
    'Semantic FPN': (semantic_fpn, 50),
    'Mask R-CNN': (mask_rcnn, 60),
    'choices': (choices, 50),
}


def write(folder: Path, about: dict, outcomes: list[Outcome]) -> None:
    """Write down what is known so far, as JSON and as tables."""
    text = json.dumps(dict(about=about, steps=[asdict(o) for o in outcomes]), indent=1)
    (folder / 'gpu.json').write_text(text + '\n')
    lines = [f'{about["device"]}, torch {about["torch"]}, {about["date"]}: `{about["command"]}`', '']
    for outcome in outcomes:
        lines += [f'### {outcome.name}: {outcome.status}, {outcome.seconds:.0f} s', '']
        if outcome.reason:
            lines += [outcome.reason, '']
        if outcome.rows:
            table = [list(outcome.rows[0]), ['--'] * len(outcome.rows[0])]
            table += [list(map(str, row.values())) for row in outcome.rows]
            lines += [*('| ' + ' | '.join(row) + ' |' for row in table), '']
    (folder / 'gpu.md').write_text('\n'.join(lines))


def run_step(job: Job, outcome: Outcome, left: float, save: Callable[[], None]) -> None:
    """Run a step until its end, its failure or the end of the budget; save after each row."""

    def stop(*_: object) -> None:
        raise OutOfTime

    start, step = time.monotonic(), STEPS[outcome.name][0]
    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, left)
    try:
        for row in step(job):
            outcome.rows.append(row)
            outcome.seconds = time.monotonic() - start
            save()
        outcome.status = 'done'
    except OutOfTime:
        outcome.status, outcome.reason = 'failed', 'the budget ended within it'
    except Exception as error:  # The next step runs whatever this one met.
        outcome.status, outcome.reason = 'failed', one_line(error)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    outcome.seconds = time.monotonic() - start
    broken = getattr(sys.modules.get('mmspike.neurons.compiled'), '_broken', None)
    if broken:
        outcome.reason += f' Neurons called compiled ran as they are, for: {broken[0][:300]}'


def main(argv: Sequence[str] | None = None) -> int:
    """Run the steps, and return 0 if all that ran succeeded."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--device', default='cuda:0')
    parser.add_argument('--budget', type=float, default=480, help='seconds (default: 480)')
    parser.add_argument('--wheels', type=Path, help='folder of wheels for what is missing')
    parser.add_argument('--out-dir', type=Path, default=ROOT / 'work_dirs' / 'gpu')
    parser.add_argument('--dry-run', action='store_true', help='tiny sizes, one repeat')
    parser.add_argument('--steps', nargs='+', choices=STEPS, default=list(STEPS))
    args = parser.parse_args(argv)
    start = START if argv is None else time.monotonic()
    cuda = args.device.startswith('cuda')
    about = dict(
        device=torch.cuda.get_device_name(args.device) if cuda else 'CPU',
        torch=torch.__version__,
        date=str(datetime.date.today()),
        command=' '.join(['python3', 'tools/dev/gpu.py', *(argv or sys.argv[1:])]),
    )
    args.out_dir.mkdir(parents=True, exist_ok=True)
    outcomes: list[Outcome] = []

    def save() -> None:
        write(args.out_dir, about, outcomes)

    with tempfile.TemporaryDirectory() as folder:
        if str(ROOT) not in sys.path:
            sys.path.insert(0, str(ROOT))
        if args.wheels:
            unpack(args.wheels, folder)
        sys.meta_path.append(StandIns())
        provide_operators()
        if cuda:  # Forms, precisions and T are more kinds of a function than it compiles else.
            from torch import _dynamo

            _dynamo.config.recompile_limit = 128
        for name in args.steps:
            outcomes.append(outcome := Outcome(name))
            save()
            left = args.budget - (time.monotonic() - start)
            needed = 0 if args.dry_run else STEPS[name][1]
            if left <= needed:
                outcome.status = 'left out'
                outcome.reason = f'{max(left, 0):.0f} s were left, and it takes about {needed} s'
            else:
                run_step(Job(args.device, args.dry_run), outcome, left, save)
            save()
            print(f'{name}: {outcome.status} {outcome.reason}'.strip(), flush=True)
            if cuda:
                torch.cuda.empty_cache()
    wrong = any('NO' in row.values() for outcome in outcomes for row in outcome.rows)
    return int(wrong or any(outcome.status == 'failed' for outcome in outcomes))


if __name__ == '__main__':
    sys.exit(main())
