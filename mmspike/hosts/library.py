"""What the three libraries have in common, and where they differ: the base of their classes."""

from argparse import Namespace
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from importlib import import_module
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS
from mmengine.runner import Runner

from mmspike.errors import UserError

SEQUENCE_LOADERS = ('LoadEvents', 'LoadFrames')


class Library:
    """A library of OpenMMLab, and all that differs between it and the others.

    Attributes:
        name: Its name, a config's ``default_scope``.
        sample: Module and name of its data samples.
        hook: Its hook that draws predictions.
        visualizer: Its visualizer.
        tta_model: Config of the model that merges the views of a picture.
        class_metric: Its usual metric.
        behind_flips: What transforms have in their names that must stand behind the flips of
            test-time augmentation.
        full_score: What the metrics of a perfect model are.
        usual_size: Pixels of a side at which its models are compared, None if there is no such.
    """

    name: str
    sample: tuple[str, str]
    hook: str
    visualizer: str
    class_metric: str
    tta_model: dict
    behind_flips: str | None = None
    full_score: float = 100.0
    usual_size: int | None = None

    def make_sample(self, **meta: Any) -> Any:
        """Make an empty data sample.

        Args:
            meta: Its meta information.
        """
        module, name = self.sample
        return getattr(import_module(module), name)(metainfo=meta)

    def add_truth(self, sample: Any, height: int, width: int) -> None:
        """Put made-up truth into a sample of a picture of that many pixels, for the benchmark."""
        raise NotImplementedError

    def build_inferencer(self, config: Config, device: str) -> Any:
        """Build the library's own inferencer, without weights.

        Args:
            config: What `inference_config` returned.
            device: Where it is to run.
        """
        raise NotImplementedError

    def batch_for(self, prepared: Any) -> Any:
        """Give of what the inferencer's ``preprocess`` yields what its ``forward`` takes."""
        return prepared

    def dataset_type(self, dataset: ConfigDict) -> Any:
        """Find the class of a dataset config; None if it is registered nowhere."""
        kind = dataset.type
        if not isinstance(kind, str):
            return kind
        return DATASETS.get(kind if '.' in kind else f'{self.name}.{kind}')

    def label_info(self, dataset: ConfigDict) -> dict:
        """Give what tells the ids of a dataset's label maps from training ids, without its files.

        Args:
            dataset: The config of the dataset.

        Returns:
            What `mmspike.datasets.transforms.training_ids` takes.
        """
        return {}

    def check_half(self, option: str, device: str) -> None:
        """Refuse half precision where the library cannot run in it.

        Args:
            option: What asks for it, for the message.
            device: Where it is to run.

        Raises:
            UserError: If it cannot.
        """

    def show_predictions(self, config: Config, args: Namespace) -> None:
        """Switch on the drawing of predictions in a window or into a folder.

        Args:
            config: The config to complete.
            args: Has ``show``, ``show_dir`` and ``wait_time``.

        Raises:
            UserError: If the config tests on sequences.
        """
        require_pictures(config, '--show or --show-dir')
        # Copies, put back at the end: a ConfigDict's setdefault hands out what it does not store.
        hooks = dict(config.get('default_hooks') or {})
        hook = dict(hooks.get('visualization') or {'type': self.hook})
        visualizer = dict(config.get('visualizer') or {'type': self.visualizer})
        visualizer.setdefault('vis_backends', [{'type': 'LocalVisBackend'}])
        hook.update(show=args.show, wait_time=args.wait_time)
        self._draw(hook, visualizer, args.show_dir)
        config.default_hooks = {**hooks, 'visualization': hook}
        config.visualizer = visualizer

    def _draw(self, hook: dict, visualizer: dict, folder: str | None) -> None:
        """Let hook or visualizer draw, into a folder if one is given."""
        raise NotImplementedError

    def use_tta(self, config: Config) -> None:
        """Exchange model and pipeline for those of test-time augmentation.

        A config without ``tta_model`` and ``tta_pipeline`` gets the library's horizontal flip.

        Args:
            config: The config to complete.

        Raises:
            UserError: If there is no such augmentation for the model.
        """
        dataset = test_dataset(config)
        model = config.get('tta_model') or deepcopy(self.tta_model)
        pipeline = config.get('tta_pipeline') or self._flip_pipeline(dataset.pipeline)
        config.model = dict(model, module=config.model)
        dataset.pipeline = pipeline

    def _flip_pipeline(self, pipeline: list) -> list:
        pack = deepcopy(pipeline[-1])
        self._keep_flips(pack)
        flips = [dict(type='RandomFlip', prob=0.0), dict(type='RandomFlip', prob=1.0)]
        late = self.behind_flips
        behind = [[step] for step in pipeline[:-1] if late and late in str(step['type'])]
        before = [step for step in pipeline[:-1] if [step] not in behind]
        return [*before, dict(type='TestTimeAug', transforms=[flips, *behind, [pack]])]

    def _keep_flips(self, pack: dict) -> None:
        """Let the last step of a pipeline tell how a view was flipped, if it does not."""

    def name_output(self, config: Config, out: str) -> None:
        """Check ``--out``, and hand it to the metric where that writes the predictions.

        Args:
            config: The config to complete.
            out: A ``.pkl`` file, or for mmseg a folder of label maps.

        Raises:
            UserError: If it is neither.
        """
        if not out.endswith(('.pkl', '.pickle')):
            raise UserError(
                f"--out is '{out}', but predictions are dumped to a .pkl file; name one."
            )

    def dump_predictions(self, runner: Runner, out: str) -> None:
        """Let a runner dump its predictions.

        Args:
            runner: The runner about to test.
            out: The ``.pkl`` file.
        """
        from mmengine.evaluator import DumpResults

        runner.test_evaluator.metrics.append(DumpResults(out_file_path=out))

    def score_classes(self, runner: Runner) -> dict[str, dict[str, float]]:
        """Let the test of a runner score each class too, which the stock metrics print at most.

        Args:
            runner: The runner about to test.

        Returns:
            A dictionary that the test fills: the name of each class to its scores by their names,
            NaN where the test set has none of it. It stays empty with metrics of other kinds than
            the library's usual one.
        """
        scores: dict[str, dict[str, float]] = {}
        for metric in runner.test_evaluator.metrics:
            if self.class_metric in [kind.__name__ for kind in type(metric).__mro__]:
                metric.compute_metrics = partial(
                    self._score, metric, metric.compute_metrics, scores
                )
        return scores

    def _score(self, metric: Any, stock: Callable, scores: dict, results: list) -> dict:
        """Compute a metric as `stock` does, and put the scores of each class into `scores`."""
        raise NotImplementedError


def build_without_weights(stock: type, config: Config, device: str, scope: str) -> Any:
    """Build an inferencer of mmdet or mmseg that leaves weights to mmspike, and shows no progress.

    Args:
        stock: The library's class.
        config: What `inference_config` returned.
        device: Where it is to run.
        scope: The library's name.
    """

    class Inferencer(stock):
        def _load_weights_to_model(self, model: Any, checkpoint: None, cfg: Config) -> None:
            # `HostModel` loads them, as plain data, and keeps the names of the classes.
            model.dataset_meta = {}

        def _init_collate(self, cfg: Config) -> Callable:
            # What the stock method comes to, without its warning of a registry that is not there.
            return pseudo_collate

    inferencer: Any = Inferencer(config, device=device, scope=scope)
    inferencer.show_progress = False
    return inferencer


def test_dataset(config: Config) -> ConfigDict:
    """Find the dataset config of the test dataloader below wrappers such as RepeatDataset."""
    dataset = (config.get('test_dataloader') or {}).get('dataset') or ConfigDict()
    while 'dataset' in dataset:
        dataset = dataset.dataset
    return dataset


def sequence_loader(config: Config) -> str | None:
    """Name the transform by which a config tests on sequences; None if it tests on pictures."""
    kinds = (str(t['type']).rpartition('.')[2] for t in test_dataset(config).get('pipeline') or [])
    return next((kind for kind in kinds if kind in SEQUENCE_LOADERS), None)


def require_pictures(config: Config, what: str) -> None:
    """Demand that a config tests on pictures and not on sequences.

    Args:
        config: The config.
        what: What needs pictures, for the message.

    Raises:
        UserError: If its test pipeline loads events or folders of frames.
    """
    kind = sequence_loader(config)
    if kind:
        raise UserError(
            f'{what} shows single pictures, but the config tests on sequences ({kind}); '
            'let tools/test.py write the predictions of sequences to a file with --out.'
        )
