"""Time models side by side."""

import json
import statistics
import time
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

from mmspike.commands.media import make_folder
from mmspike.commands.peak_memory import peak_above_idle
from mmspike.compat import make_torchvision_importable
from mmspike.config import load_config
from mmspike.deploy import FORMS, reparameterize
from mmspike.errors import UserError
from mmspike.hosts import library_of
from mmspike.hosts.batches import build_model, noise_batch, training_batch
from mmspike.hosts.inferencers import use_device
from mmspike.neurons import LIF, build_neuron, set_time_steps

AGAINST = ('plain', 'compiled', 'twin', 'spikingjelly')
WHAT = ('train', 'inference', 'neuron', 'neuron-inference')
NEURON_CHANNELS = 64


class SpikingJellyLIF(LIF):
    """SpikingJelly's own LIF neuron in the place of ours, for comparison.

    It is an optional dependency of the benchmark. The options and shapes are those of
    `mmspike.LIF`; only the sigmoid surrogate is offered.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        try:
            from spikingjelly.activation_based import neuron, surrogate
        except ImportError as error:
            raise UserError(
                '--against spikingjelly needs the package spikingjelly, which is not installed '
                'here; install it, for example with python3 tools/setup_env.py --tests.'
            ) from error
        self.node = neuron.LIFNode(
            tau=self.tau,
            decay_input=self.decay_input,
            v_threshold=self.v_threshold,
            v_reset=self.v_reset,
            surrogate_function=surrogate.Sigmoid(alpha=self.alpha),
            detach_reset=self.detach_reset,
            step_mode='m',
        )

    def run(self, x: Tensor) -> Tensor:
        self.node.reset()
        return self.node(x.contiguous())


OTHER_NEURONS: dict[str, dict] = {
    'plain': {'backend': 'torch'},
    'compiled': {'backend': 'inductor'},
    'twin': {'type': 'ReLU'},
    'spikingjelly': {'type': SpikingJellyLIF, 'backend': 'torch'},
}


def benchmark(argv: Sequence[str] | None = None) -> dict[str, dict]:
    """Time models in turn, as a command line says.

    Args:
        argv: The arguments; those of the process by default.

    Returns:
        For each side its times in seconds, their median, and the ratio of medians to the first.

    Raises:
        UserError: If the command or a config is not usable.
    """
    args = _parser().parse_args(argv)
    if args.repeats < 1 or args.batch < 1:
        raise UserError(
            f'--repeats is {args.repeats} and --batch {args.batch}, but both must be at least 1.'
        )
    if len(args.size) > 2 or min(args.size) < 1:
        raise UserError(
            f'--size is {" ".join(map(str, args.size))}, but it must be one number of pixels, or '
            'height and width; give --size 256, or --size 256 384.'
        )
    make_torchvision_importable()
    device = use_device(args.device)
    if args.threads:
        torch.set_num_threads(args.threads)
    sides = {}
    for path in args.configs:
        sides[Path(path).stem] = (load_config(path), args.deploy)
    first = next(iter(sides))
    for time_steps in args.time_steps:
        config = deepcopy(sides[first][0])
        config.model.backbone.time_steps = time_steps
        sides[f'{first} (T = {time_steps})'] = (config, args.deploy)
    for name in args.against:
        config = deepcopy(sides[first][0])
        neuron = dict(config.model.backbone.get('neuron') or {'type': 'mmspike.LIF'})
        config.model.backbone.neuron = {**neuron, **OTHER_NEURONS[name]}
        if name == 'compiled' and device == 'cpu':
            config.model.backbone.neuron['backend'] = 'cpp'
        # SpikingJelly's side has no optimization of ours.
        if name == 'spikingjelly':
            config.model.backbone.channels_last = False
        sides[f'{first} ({name})'] = (config, None if name == 'spikingjelly' else args.deploy)
    options = {
        name: (config, args.what, args.size, args.batch, device, args.bf16, form)
        for name, (config, form) in sides.items()
    }
    runs = {name: prepare(*given) for name, given in options.items()}
    result = summarize(take_turns(runs, args.repeats, device))
    if args.memory:
        for name, given in track(options.items(), 'Memory'):
            result[name]['peak'] = peak_above_idle(prepare, given, device)
    _show(result, args.what)
    if args.out_dir:
        folder = make_folder(Path(args.out_dir))
        about = dict(vars(args), torch=torch.__version__, threads=torch.get_num_threads())
        text = json.dumps(dict(about=about, sides=result), indent=1)
        (folder / 'benchmark.json').write_text(text)
    return result


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        description='Time training, inference or the neuron alone of models, in turn'
    )
    parser.add_argument('configs', nargs='+', help='config files; ratios are to the first')
    parser.add_argument('--against', nargs='+', choices=AGAINST, default=[], help='further sides')
    parser.add_argument(
        '--time-steps', nargs='+', type=int, default=[], help='the first config at these T as well'
    )
    parser.add_argument('--what', choices=WHAT, default='train')
    parser.add_argument('--size', type=int, nargs='+', default=[256], help='pixels: H or H W')
    parser.add_argument('--batch', type=int, default=2, help='images of a batch (default: 2)')
    parser.add_argument('--repeats', type=int, default=10, help='timed runs a side (default: 10)')
    parser.add_argument('--threads', type=int, help='CPU threads of torch')
    parser.add_argument(
        '--memory',
        action='store_true',
        help='measure the peak of each side, in its own process',
    )
    parser.add_argument('--bf16', action='store_true', help='autocast to bfloat16')
    parser.add_argument('--deploy', choices=FORMS, help='merge the models, for inference')
    parser.add_argument('--device', help='cpu, cuda:0, ...; by default a GPU if there is one')
    parser.add_argument('--out-dir', help='folder to write benchmark.json to')
    return parser


def prepare(
    config: Config,
    what: str,
    size: Sequence[int],
    batch_size: int,
    device: str,
    bf16: bool = False,
    form: str | None = None,
) -> Callable[[], None]:
    """Build a model, and return a function that runs one iteration of it on noise.

    Args:
        config: The model's config.
        what: ``'train'``: forward, loss, backward and a step of the optimizer; ``'inference'``: a
            test step, with what follows the network; ``'neuron'``: forward and backward of the
            neuron alone, on maps of 64 channels; ``'neuron-inference'``: its forward.
        size: Height and width in pixels, or one number for both.
        batch_size: Images of a batch.
        device: Where to run.
        bf16: Autocast to bfloat16; the neuron alone gets its input in it.
        form: A form of `mmspike.deploy.reparameterize`, for inference.

    Raises:
        UserError: If a model is to be merged for training, or a detector to run in bfloat16 on a
            CPU.
    """
    make_torchvision_importable()  # Here too: memory is measured in a process of its own.
    if what.startswith('neuron'):
        dtype = torch.bfloat16 if bf16 else torch.float32
        return _neuron(config.model.backbone, what == 'neuron', size, batch_size, device, dtype)
    library = library_of(config)
    height, width = size[0], size[-1]
    if bf16:
        library.check_half('--bf16', device)
    cast = torch.autocast(device.partition(':')[0], torch.bfloat16) if bf16 else nullcontext()
    config = deepcopy(config)
    if config.model.get('data_preprocessor', {}).get('size'):
        config.model.data_preprocessor.size = (height, width)
    torch.manual_seed(0)
    model: Any = build_model(config, library, None, device)
    make = training_batch if what == 'train' else noise_batch
    batch = make(config, library, (height, width), batch_size)
    if what == 'inference':
        model = reparameterize(model, form) if form else model

        def infer() -> None:
            with torch.inference_mode(), cast, DefaultScope.overwrite_default_scope(library.name):
                model.test_step(deepcopy(batch))

        return infer
    if form:
        raise UserError('--deploy merges a model for inference; add --what inference.')
    return _training(model, batch, cast, library.name)


def _neuron(
    backbone: dict,
    train: bool,
    size: Sequence[int],
    batch_size: int,
    device: str,
    dtype: torch.dtype,
) -> Callable[[], None]:
    time_steps = backbone.get('time_steps', 1)
    neuron = set_time_steps(build_neuron(backbone.get('neuron')), time_steps).to(device)
    shape = (time_steps * batch_size, NEURON_CHANNELS, size[0], size[-1])
    options: Any = dict(device=device, dtype=dtype)
    x, grad = torch.randn(shape, **options, requires_grad=train), torch.randn(shape, **options)

    def run() -> None:
        with torch.set_grad_enabled(train):
            out = neuron(x)
        if train:
            out.backward(grad)
            x.grad = None

    return run


def _training(
    model: Any, batch: dict, cast: AbstractContextManager, scope: str
) -> Callable[[], None]:
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6)

    def step() -> None:
        with DefaultScope.overwrite_default_scope(scope):
            data = model.data_preprocessor(deepcopy(batch), training=True)
            with cast:
                losses = model(**data, mode='loss')
            total, _ = model.parse_losses(losses)
        total.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def take_turns(
    runs: dict[str, Callable[[], None]], repeats: int, device: str
) -> dict[str, list[float]]:
    """Time functions in turn, A B A B, so that a change of the machine's load meets all alike.

    Args:
        runs: What to time; each runs twice before.
        repeats: How often each is timed.
        device: Where they run.

    Returns:
        The seconds of each run.
    """
    for run in [*runs.values()] * 2:
        run()
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in track(range(repeats), 'Benchmark'):
        for name, run in runs.items():
            start = _now(device)
            run()
            times[name].append(_now(device) - start)
    return times


def _now(device: str) -> float:
    if device.startswith('cuda'):
        torch.cuda.synchronize(device)
    return time.perf_counter()


def summarize(times: dict[str, list[float]]) -> dict[str, dict]:
    """Give for each side its times, their median, and the median of its ratios to the first.

    The ratio is taken turn by turn: what a loaded machine does to one turn it does to both sides.
    """
    first = next(iter(times.values()))
    return {
        name: dict(
            seconds=own,
            median=statistics.median(own),
            ratio=statistics.median(b / a for a, b in zip(first, own, strict=True)),
        )
        for name, own in times.items()
    }


def _show(result: dict[str, dict], what: str) -> None:
    table = Table('side', 'median, s', 'to the first', title=f'One iteration: {what}')
    memory = ['peak' in side for side in result.values()]
    kinds = next(iter(result.values()))['peak'] if all(memory) else ()
    for kind in kinds:
        table.add_column(f'{kind} peak, MiB')
    for name, side in result.items():
        peaks = [f'{side["peak"][kind]:.4g}' for kind in kinds]
        table.add_row(name, f'{side["median"]:.4g}', f'{side["ratio"]:.3g}', *peaks)
    Console(width=110).print(table)
