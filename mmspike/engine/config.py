"""Configs and their command-line options, in which a new ``data_root`` reaches every path."""

import re
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config, ConfigDict, DictAction

from mmspike.errors import UserError

# Where setup.py puts them; a checkout that is not installed has none.
SHIPPED = Path(__file__).resolve().parents[1] / '.mim' / 'configs'
SEQUENCE_LOADERS = ('LoadEvents', 'LoadFrames')


class OptionAction(DictAction):
    """mmengine's action for ``KEY=VALUE``, but one sentence for what it cannot read."""

    def __call__(
        self,
        parser: ArgumentParser,
        namespace: Namespace,
        values: Sequence[str],
        option_string: str | None = None,
    ) -> None:
        try:
            # mmengine would take a dict for a text, or for several.
            if any(re.search(r'[=\[(,]\s*(dict\(|{)', value) for value in values):
                raise ValueError('a dict')
            super().__call__(parser, namespace, values, option_string)
        # Of dicts in a list, of brackets that do not match, and of no = in turn.
        except (RecursionError, AssertionError, ValueError) as error:
            raise UserError(
                f"{option_string} '{' '.join(values)}' cannot be read, but it must be KEY=VALUE "
                'with a number, a text, or a list of them as "[a,b]"; set what stands in dicts one '
                'by one, as model.backbone.neuron.tau=2.0, or in a config of your own.'
            ) from error


def config_parser(description: str) -> ArgumentParser:
    """Begin the parser of a command with what all share: a config and its overridden settings.

    Args:
        description: What the command does.
    """
    parser = ArgumentParser(description=description)
    parser.add_argument('config', help='config file, or the name of one that mmspike ships')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=OptionAction,
        metavar='KEY=VALUE',
        help='override settings of the config, for example data_root=data/coco/ '
        'or model.backbone.time_steps=2; lists are written key="[a,b]"',
    )
    return parser


def find_config(path: str | Path) -> Path:
    """Find a config file, or one that mmspike ships by its name.

    Args:
        path: The path of a file, or the name of one in the ``configs/`` of mmspike.

    Raises:
        UserError: If neither is there.
    """
    shipped = SHIPPED / path
    if Path(path).is_file():
        return Path(path)
    if Path(path).name == str(path) and shipped.is_file():
        return shipped
    raise UserError(
        f"Config '{path}' is not there; give the path of a config file, or the name of one that "
        'mmspike ships.'
    )


def load_config(path: str | Path, options: dict | None = None) -> Config:
    """Read a config file and merge the values of ``--cfg-options`` into it.

    A config copies ``data_root`` into its paths when it is read. An option ``data_root=...``
    therefore replaces the old folder at the beginning of every path first; other options come
    after it and win.

    Args:
        path: The config file, or the name of one that mmspike ships.
        options: Dotted keys and their values.

    Raises:
        UserError: If the file is absent, or ``data_root`` is set and the config has none or uses it
            nowhere.
    """
    config = Config.fromfile(find_config(path))
    options = dict(options or {})
    if 'data_root' in options:
        old, new = config.get('data_root'), str(options.pop('data_root'))
        if not old:
            raise UserError(
                f"'{path}' has no data_root at its top level to be replaced by "
                f"'{new}'; set train_dataloader.dataset.data_root and the like."
            )
        if not _rebase(config._cfg_dict, old.rstrip('/') or '/', new.rstrip('/') or '/'):
            raise UserError(
                f"data_root of '{path}' is '{old}', but no dataset in it lies there, so "
                f"data_root={new} would change nothing; set data_root in the config's "
                'dataloaders and evaluators to the variable data_root.'
            )
    config.merge_from_dict(options)
    return config


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


def demand_pictures(config: Config, what: str) -> None:
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


def _rebase(config: ConfigDict, old: str, new: str) -> int:
    """Exchange the folder ``old`` for ``new`` in every path of a config.

    Returns:
        How many paths there are besides ``data_root`` itself.
    """
    found = 0

    def exchange(node: object) -> object:
        nonlocal found
        if isinstance(node, dict):
            # dict.items: a ConfigDict's own would import what a lazy config only names.
            for key, value in dict.items(node):
                node[key] = exchange(value)
        elif isinstance(node, (list, tuple)):
            return type(node)(exchange(value) for value in node)
        elif isinstance(node, str) and (node == old or node.startswith(old.rstrip('/') + '/')):
            found += 1
            return new + node[len(old) :]
        return node

    exchange(config)
    return found - 1
