"""Firing rates while training: to the log and the visualizer, with a warning where none is left."""

import re

from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmspike.analysis import FiringRateRecorder
from mmspike.checks.weights import unwrap
from mmspike.errors import UserError
from mmspike.registry import HOOKS

SILENT, SATURATED = 1e-4, 0.95


@HOOKS.register_module()
class FiringRateHook(Hook):
    """Log the firing rates of chosen layers, and warn of layers that are silent or saturated.

    In every `interval`-th training iteration the rates of the chosen neuron layers, averaged over
    the time steps, go to mmengine's visualizer as ``firing_rate/<layer>`` (TensorBoard, or the
    scalars of the local backend), and their mean to the log as ``firing_rate``. Other iterations
    are not looked at and cost nothing.

    A layer whose rate is under 1e-4 passes nothing on and, as surrogate gradients are small far
    below the threshold, may never again; one over 0.95 says nothing. Each is warned of once, and
    again if it recovers in between.

    Args:
        layers: A regular expression; layers whose name it is found in are logged. Warnings concern
            all layers.
        interval: Iterations from one measurement to the next.

    Raises:
        UserError: If `interval` is not positive, or no layer has such a name.
    """

    priority = 'NORMAL'  # Before the log is written.

    def __init__(self, layers: str = '', interval: int = 50) -> None:
        if interval < 1:
            raise UserError(f'interval of FiringRateHook is {interval}, but it must be at least 1.')
        self.layers = re.compile(layers)
        self.interval = interval
        self._recorder: FiringRateRecorder | None = None
        self._warned: dict[str, str] = {}

    def before_train(self, runner: Runner) -> None:
        """Look for the chosen layers, before any iteration is spent.

        Args:
            runner: The runner about to train.
        """
        names = FiringRateRecorder(unwrap(runner.model)).neurons
        if not any(self.layers.search(name) for name in names):
            raise UserError(
                f'layers of FiringRateHook is {self.layers.pattern!r}, but no neuron layer has it '
                f'in its name; one is called {next(iter(names))!r}.'
            )

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: object = None) -> None:
        """Begin to record, if it is time to.

        Args:
            runner: The runner.
            batch_idx: Not used.
            data_batch: Not used.
        """
        if self.every_n_train_iters(runner, self.interval):
            self._recorder = FiringRateRecorder(unwrap(runner.model)).__enter__()

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: object = None,
        outputs: object = None,
    ) -> None:
        """Log what was recorded, and warn.

        Args:
            runner: The runner.
            batch_idx: Not used.
            data_batch: Not used.
            outputs: Not used.
        """
        if self._recorder is None:
            return
        self._recorder.__exit__(None, None, None)
        rates = {name: float(rate.mean()) for name, rate in self._recorder.rates.items()}
        self._recorder = None
        chosen = {name: rate for name, rate in rates.items() if self.layers.search(name)}
        if chosen:
            runner.message_hub.update_scalar(
                'train/firing_rate', sum(chosen.values()) / len(chosen)
            )
            runner.visualizer.add_scalars(
                {f'firing_rate/{name}': rate for name, rate in chosen.items()},
                step=runner.iter + 1,
            )
        self._warn(runner, rates)

    def _warn(self, runner: Runner, rates: dict[str, float]) -> None:
        for name, rate in rates.items():
            state = 'silent' if rate < SILENT else 'saturated' if rate > SATURATED else ''
            if state and self._warned.get(name) != state:
                way_out = 'lower v_threshold' if state == 'silent' else 'raise v_threshold'
                runner.logger.warning(
                    f'{name} is {state}: it fires at a rate of {rate:.2g}; if it stays so, '
                    f'{way_out}, put a norm before it, or lower the learning rate.'
                )
            self._warned[name] = state
