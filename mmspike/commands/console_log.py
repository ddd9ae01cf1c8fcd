"""What train and test show on the console: few lines. The full log keeps everything.

mmengine hands the same records to the console and to the log file. Here the console's handler gets
a filter and a formatter of its own, and the file's handler stays as it is. What packages print or
warn of goes through a table of names: a notice in it is kept in the full log alone.
"""

import logging
import os
import re
import sys
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from multiprocessing import parent_process
from typing import Any, TextIO

from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import RUNNERS
from mmengine.runner import Runner
from rich.console import Console
from rich.table import Table

# Notices of other packages that no user can act on, by how they begin. A line that is printed:
PRINTED = (
    r'Could not import OneDL',  # OneDL's mmdet, mmseg, mmpretrain: data of its own product.
    # pycocotools, as it reads annotations, evaluates, and sums up: the table has the figures.
    r'(loading annotations|creating index|index created|Loading and preparing results)',
    r'(Running per image evaluation|Evaluate annotation type|Accumulating evaluation results)',
    r'(Done|DONE) \(t=',
    r' Average (Precision|Recall) +\(A[PR]\)',
    r'Loads checkpoint by \w+ backend',  # mmengine; the run says what it starts from.
)
# A warning in mmengine's log:
LOGGED = (
    r'"(FileClient|HardDiskBackend)" ',  # mmengine, of its own CheckpointHook.
    r'Reach the end of the dataloader',  # mmengine: each epoch of a loop over iterations ends so.
    r'`save_param_scheduler` is True but `self.param_schedulers` is None',  # mmengine's default.
    r'The prefix is not set in metric class',  # mmengine, of mmseg's own IoUMetric.
)
# A Python warning, with what is in the path of the code that gives it:
WARNED = {
    r'faster_coco_eval is not installed': 'mmdet',  # An evaluator beside the one in use.
    r'Default ``avg_non_ignore`` is False': 'mmseg',  # How mmseg averages its losses by default.
    r'The draw is False': 'mmseg',  # Its hook for pictures, which draws none unless asked to.
    r'pkg_resources is deprecated': '',  # mmengine, as it looks for installed packages.
    r'torch\.meshgrid: in an upcoming release': 'torch',  # Of mmdet's anchors.
    r'`torch\.cuda\.amp\.\w+\(.*\)` is deprecated': 'mmengine|mmcv',  # As they switch precision.
    r'Warning: The \w+ is out of bounds': 'mmengine',  # A drawn label at the edge of a picture.
}
# What packages log and a user waits for, by how it begins; the rest stays in the full log.
SHOWN = (
    r'Auto resumed from|resumed epoch:',
    r'LR is set based on batch size',
    r'The best checkpoint with',
    r'(Monitored|the monitored) metric|Stopping threshold reached',  # EarlyStoppingHook.
    r'\d+ neurons run compiled',
    r'.*\bloss: ',  # The lines of a LogProcessor that is not mmengine's.
)
HOSTS = ('mmengine', 'mmcv', 'mmdet', 'mmseg', 'mmpretrain')
# How a line of mmengine's LogProcessor begins: Epoch(train) [2][50/75], Iter(val) [50/75].
HEADER = re.compile(r'(?:Epoch|Iter)\((\w+)\)\s*(?:\[\s*(\d+)\])?\s*\[\s*(\d+)/(\d+)\]\s+')
MAX_COLUMNS = 8  # Of a table with a column for each metric; with more they stand below each other.

_early: deque[str] = deque(maxlen=1000)  # What came before there was a log file.


@contextmanager
def quiet_console(verbose: bool = False) -> Iterator[None]:
    """Keep named notices of other packages from the console while a command runs.

    Args:
        verbose: Show everything instead.
    """
    if verbose or isinstance(sys.stdout, _Unnamed):
        yield
        return
    stream = _Unnamed(sys.stdout)
    show = warnings.showwarning

    def show_unnamed(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        _keep(warnings.formatwarning(message, category, filename, lineno, line))
        if not any(
            re.search(package, filename) and re.match(pattern, str(message))
            for pattern, package in WARNED.items()
        ):
            show(message, category, filename, lineno, file, line)

    _quiet(MMLogger.get_current_instance(), _Formatter())
    warnings.showwarning = show_unnamed
    try:
        with redirect_stdout(stream):
            yield
    finally:
        stream.flush()
        warnings.showwarning = show


def build_runner(config: Config, verbose: bool = False) -> Runner:
    """Build the runner of a config.

    Args:
        config: The config; its ``runner_type`` names the class, mmengine's `Runner` by default.
        verbose: Let the console show all that the log file gets.
    """
    kind = config.get('runner_type', Runner)
    base: Any = RUNNERS.get(kind) if isinstance(kind, str) else kind
    if base is None:  # mmengine says that there is no such class.
        return RUNNERS.build(config)
    own: Any = type(base.__name__, (_ScalingRunner if verbose else _QuietRunner, base), {})
    return own.from_cfg(config)


class _ScalingRunner:
    """Counts accumulated gradients where it scales the learning rate with the batch size."""

    def scale_lr(self, optim_wrapper: Any, auto_scale_lr: dict | None = None) -> None:
        counts = getattr(optim_wrapper, '_accumulative_counts', 1)
        if counts > 1 and (auto_scale_lr or {}).get('enable'):
            base = auto_scale_lr['base_batch_size']  # type: ignore[index]
            auto_scale_lr = {**(auto_scale_lr or {}), 'base_batch_size': base / counts}
            self.logger.info(  # type: ignore[attr-defined]
                f'A step of the optimizer sees {counts} batches (accumulative_counts), so that the '
                f'base batch size of {base} is {base / counts:g} for each.'
            )
        super().scale_lr(optim_wrapper, auto_scale_lr)  # type: ignore[misc]


class _QuietRunner(_ScalingRunner):
    """Gives the console's handler its filter and formatter before anything is logged."""

    def build_logger(self, *args: Any, **kwargs: Any) -> MMLogger:
        logger = super().build_logger(*args, **kwargs)  # type: ignore[misc]
        _quiet(logger, _Formatter(self))
        early = list(_early)
        _early.clear()
        for text in early:
            _keep(text)  # Where a rank has no log file, it waits on.
        return logger


class _Unnamed:
    """A text stream that lets through all lines but those of `PRINTED`.

    Args:
        stream: Where they go.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._rest = stream, ''

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split('\n')
        for line in lines:
            if _begins(line, PRINTED):
                _keep(line)
            else:
                self._stream.write(f'{line}\n')
        return len(text)

    def flush(self) -> None:
        rest, self._rest = self._rest, ''
        self._stream.write(rest)
        self._stream.flush()

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)


class _Formatter(logging.Formatter):
    """Writes mmengine's lines shorter, and its figures of a validation as a table.

    Args:
        runner: The runner, which knows how long training is.
    """

    def __init__(self, runner: Any = None) -> None:
        super().__init__()
        self.runner = runner

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        if record.levelno >= logging.WARNING:
            return f'{record.levelname}: {text}'
        header = HEADER.match(text)
        if header is None:
            return text
        mode, epoch, done, total = header.groups()
        values = dict(
            part.split(': ', 1)
            for part in re.split(r'\s{2,}| (?=\w*lr: )', text[header.end() :])
            if ': ' in part
        )
        if mode != 'train' and 'eta' not in values:
            return f'{self._when(mode, epoch)}\n{tabulate(values)}'
        count = f'{done:>{len(total)}}/{total}'
        if mode == 'train' and epoch:
            count = f'epoch {epoch}/{self.runner.max_epochs}  iter {count}'
        elif mode == 'train':
            count = f'iter {count}'
        else:
            count = f'{mode} {count}'
        return '  '.join([count, *_progress(values)])

    def _when(self, mode: str, epoch: str | None) -> str:
        if mode == 'test':
            return 'Test'
        iteration = getattr(self.runner, 'iter', 0)
        return f'Validation after {f"epoch {epoch}" if epoch else f"iteration {iteration}"}'


def tabulate(metrics: dict[str, str]) -> str:
    """Write metrics as a table.

    Args:
        metrics: Their values by name, such as ``coco/bbox_mAP_50`` or ``mIoU``. What is no number,
            and the time it took, is left out.

    Returns:
        A row for each kind (``bbox``, ``segm``), a column for each metric; with many of them a row
        for each.
    """
    rows: dict[str, dict[str, str]] = {}
    for name, value in metrics.items():
        if name in ('time', 'data_time') or (figure := _figure(name, value)) is None:
            continue
        prefix, _, name = name.rpartition('/')
        kind = re.fullmatch(r'(.+?)_(m?A[PR].*)', name)
        row, column = kind.groups() if kind else (prefix, name)
        rows.setdefault(row, {})[column] = figure
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    if len(columns) > MAX_COLUMNS:
        table = Table('', '', box=None, show_header=False)
        for row, values in rows.items():
            for column, figure in values.items():
                table.add_row(f'{row} {column}'.strip(), figure)
    else:
        table = Table('', *columns, box=None)
        for row, values in rows.items():
            table.add_row(row, *(values.get(column, '') for column in columns))
    for column in table.columns[1:]:
        column.justify = 'right'
    console = Console(no_color=True, width=100)
    with console.capture() as capture:
        console.print(table)
    return '\n'.join(line.rstrip() for line in capture.get().splitlines())


def _figure(name: str, value: str) -> str | None:
    try:
        number = float(value)
    except ValueError:
        return None
    # So pycocotools says that there is no object of that size.
    if number == -1 and re.search(r'A[PR]', name):
        return '-'
    return f'{number:.3f}' if abs(number) <= 1 else f'{number:.2f}'


def _progress(values: dict[str, str]) -> Iterator[str]:
    for name in ('loss', 'firing_rate'):
        if name in values:
            yield f'{name} {values[name]}'
    if 'lr' in values:
        yield f'lr {float(values["lr"]):.2e}'
    if 'eta' in values:
        yield f'ETA {values["eta"]}'
    if 'time' in values:
        yield f'{float(values["time"]):.3g} s/iter'
    if 'memory' in values:
        yield f'{values["memory"]} MB'


def _quiet(logger: MMLogger, formatter: logging.Formatter) -> None:
    for handler in logger.handlers:
        if not isinstance(handler, logging.FileHandler):
            handler.setFormatter(formatter)
            handler.addFilter(_is_shown)


def _is_shown(record: logging.LogRecord) -> bool:
    """Tell whether a record of mmengine's log goes to the console."""
    text = record.getMessage()
    if getattr(record, 'kept', False):
        return False
    if record.levelno >= logging.WARNING:
        return not _begins(text, LOGGED)
    hosts = (sys.modules[host].__file__ for host in HOSTS if host in sys.modules)
    if not any(record.pathname.startswith(os.path.dirname(str(host))) for host in hosts):
        return True  # Ours, or a user's own hook.
    return bool(HEADER.match(text)) or _begins(text, SHOWN)


def _keep(text: str) -> None:
    """Write to the log file alone; a data loader's process has none."""
    if parent_process() is not None:
        return
    logger = MMLogger.get_current_instance()
    if any(isinstance(handler, logging.FileHandler) for handler in logger.handlers):
        logger.info(text, extra={'kept': True})
    else:
        _early.append(text)


def _begins(text: str, patterns: Sequence[str]) -> bool:
    return any(re.match(pattern, text) for pattern in patterns)
