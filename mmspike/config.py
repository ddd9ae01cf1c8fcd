"""Configs and their command-line options, in which a new ``data_root`` reaches every path."""

import ast
import inspect
import os
import re
import traceback
from argparse import ArgumentParser, Namespace
from collections.abc import Container, Iterable, Iterator, Sequence
from difflib import get_close_matches
from logging import WARNING
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict, DictAction
from mmengine.logging import print_log
from mmengine.runner import Runner

from mmspike.checkpoint import is_local
from mmspike.errors import UserError, did_you_mean

# Where setup.py puts them; a checkout that is not installed has none.
SHIPPED = Path(__file__).resolve().parent / '.mim' / 'configs'
SUFFIXES = ('.py', '.json', '.yaml', '.yml')
SHOWN = 3  # Places of a variable's value in a message.
# What mmengine's runners, the tools and the inferencers of the libraries read as well.
READ_BESIDES = (
    'activation_checkpointing',
    'compile',
    'efficient_conv_bn_eval',
    'find_unused_parameters',
    'model_wrapper_cfg',
    'runner_type',
    'strategy',
    'sync_bn',
    'test_pipeline',
    'tta_model',
    'tta_pipeline',
)

# What mmdet 2 and its sisters read, and what is read in its place.
FORMER = {
    'checkpoint_config': 'default_hooks.checkpoint',
    'data': 'train_dataloader',
    'evaluation': 'val_evaluator',
    'log_config': 'default_hooks.logger',
    'lr_config': 'param_scheduler',
    'optimizer': 'optim_wrapper.optimizer',
    'optimizer_config': 'optim_wrapper.clip_grad',
    'resume_from': 'resume',
    'runner': 'train_cfg',
    'total_epochs': 'train_cfg.max_epochs',
}
ALIKE = 0.85  # Such a name is one that is read, misspelt.


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
    raise UserError(f"Config '{path}' is not there{_near_configs(Path(path))}.")


def _near_configs(path: Path) -> str:
    """Say which config may have been meant by a path where none is."""
    for suffix in SUFFIXES:
        longer = Path(f'{path}{suffix}')
        if longer.is_file() or longer.parent == Path('.') and (SHIPPED / longer).is_file():
            return f", but '{longer}' is; add {suffix}"
    shipped = {file.name: file.name for file in _config_files(SHIPPED)}
    files = shipped | {file.name: str(file) for file in _config_files(path.parent)}
    near = did_you_mean(path.name, files)
    return f'{near}; give the path of a config file, or the name of one that mmspike ships'


def _config_files(folder: Path) -> list[Path]:
    return [file for file in folder.glob('*') if file.suffix in SUFFIXES]


def load_config(path: str | Path, options: dict | None = None) -> Config:
    """Read a config file and merge the values of ``--cfg-options`` into it.

    An option ``data_root=...`` replaces the old folder at the beginning of every path, which has a
    copy of it, and ``pretrained=...`` reaches the backbone; other options come after them and win.

    Args:
        path: The config file, or the name of one that mmspike ships.
        options: Dotted keys and their values.

    Raises:
        UserError: If the file is absent, cannot be read or misspells a name, nothing reads an
            option, or ``data_root`` or ``pretrained`` are set where the config has no use for them.
    """
    config = _read(file := find_config(path))
    check_names(config, file)
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
    if 'pretrained' in options:
        _set_pretrained(config, options.pop('pretrained'))
    check_options(config, options)
    try:
        config.merge_from_dict(options)
    except (AttributeError, KeyError, TypeError) as error:
        raise UserError(
            f'--cfg-options {" ".join(options)} cannot be merged into the config, where names must '
            'lead through dicts, and numbers through a list to one of its dicts; correct it.'
        ) from error
    return config


def _set_pretrained(config: Config, file: object) -> None:
    """Let the backbone of a config start from a file, or from scratch by None."""
    if file is not None and (not isinstance(file, str) or not file or not is_local(file)):
        raise UserError(
            f'--cfg-options pretrained={file} is no file of this machine; give the path of a '
            'checkpoint, or None to start from scratch.'
        )
    model: dict = config.get('model') or {}
    if not isinstance(model.get('backbone'), dict):
        raise UserError(
            f'--cfg-options sets pretrained={file}, but the config has no model.backbone to start '
            'from it; leave it out.'
        )
    # mmseg's configs may have it in the model, which hands it to the backbone.
    holder = model if model.get('pretrained') else model['backbone']
    config.pretrained = holder['pretrained'] = file


def check_variable(config: Config) -> None:
    """Demand that the variable ``pretrained`` of a config is what its backbone starts from.

    Raises:
        UserError: If a config has changed one of the two that it inherits, and not the other.
    """
    backbone: dict = (config.get('model') or {}).get('backbone') or {}
    if 'pretrained' not in config or 'pretrained' not in backbone:
        return
    if config.pretrained != backbone['pretrained']:
        raise UserError(
            f'pretrained of the config is {config.pretrained!r}, but its backbone starts from '
            f'{backbone["pretrained"]!r}; where a config sets pretrained, let it set model = '
            'dict(backbone=dict(pretrained=pretrained)) too, or use --cfg-options pretrained=FILE.'
        )


def _read(file: Path) -> Config:
    try:
        return Config.fromfile(file)
    except Exception as error:
        for base in _bases(file):
            if base.is_file():
                _read(base)  # It says what is wrong with it.
                continue
            near = did_you_mean(base.name, [other.name for other in _config_files(base.parent)])
            raise UserError(
                f"Config '{file}' has the _base_ '{os.path.normpath(base)}', which is not there"
                f'{near}; correct _base_ in it.'
            ) from error
        steps = traceback.extract_tb(error.__traceback__)
        # Of a module that the config imports, so no mistake of the config.
        importing = any(step.name == 'import_modules_from_strings' for step in steps)
        if importing and not isinstance(error, ImportError):
            raise
        reason: BaseException = error
        while isinstance(reason, ImportError) and (first := reason.__cause__ or reason.__context__):
            reason = first
        own = (s.lineno for s in reversed(steps) if Path(s.filename).absolute() == file.absolute())
        line = getattr(error, 'lineno', None) or next(own, None)
        text = reason.msg if isinstance(reason, SyntaxError) else str(reason)
        raise UserError(
            f"Config '{file}' cannot be read: {type(reason).__name__}"
            f'{f" in line {line}" if line else ""}: {" ".join(text.split())}; correct it there.'
        ) from error


def _bases(file: Path) -> list[Path]:
    """List the files of this machine that a config names as its ``_base_``."""
    names: list[str] = []
    try:
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == '_base_':
                value = ast.literal_eval(node.value)
                names += [value] if isinstance(value, str) else value
    except (OSError, ValueError, SyntaxError):  # What is wrong with the file is said of it.
        return []
    return [file.parent / name for name in names if '::' not in name]


def _rebase(config: ConfigDict, old: str, new: str) -> int:
    """Exchange the folder ``old`` for ``new`` in every path of a config.

    Returns:
        The number of paths other than ``data_root`` itself.
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


def check_options(config: Config, options: Iterable[str]) -> None:
    """Demand of every option that something reads it.

    Args:
        config: The config, as its file says.
        options: The dotted keys that are to be set in it.

    Raises:
        UserError: If nothing does, or one is a variable of the file, which mmengine only keeps.
    """
    read = set(inspect.signature(Runner).parameters)
    known = {*config.keys(), *read, *READ_BESIDES}
    for option in options:
        key = option.partition('.')[0]
        if key not in known:
            raise UserError(
                f'--cfg-options sets {key}, which is neither in the config nor read by anything'
                f'{did_you_mean(key, known)}; correct it.'
            )
        if key not in (*read, *READ_BESIDES, 'data_root'):
            _refuse_variable(config, key, read)
        _warn_of_new_key(config._cfg_dict, option)


def check_names(config: Config, file: Path) -> None:
    """Refuse a misspelt name at the top level of a config file, and warn of one of before.

    Other names that nothing reads may be variables, and one that a file of the config uses is.

    Raises:
        UserError: If one is misspelt.
    """
    read = {*inspect.signature(Runner).parameters, *READ_BESIDES}
    assigned, used = _names(file)
    for name in sorted((assigned & set(config)) - used - read):
        near = get_close_matches(name, read, 1, ALIKE)
        near += [right for right in read if sorted(right) == sorted(name)]
        if not (right := FORMER.get(name) or next(iter(near), '')):
            continue
        sentence = f"Config '{file}' sets {name}, which nothing reads; set {right} instead."
        if name not in FORMER:
            raise UserError(sentence)
        if dict.get(config._cfg_dict, name) is not None:  # Some configs of the libraries have one.
            print_log(sentence, 'current', WARNING)


def _names(file: Path) -> tuple[set[str], set[str]]:
    """List the names that a config file and its bases set at the top level, and those they use."""
    if file.suffix != '.py':
        return set(Config.fromfile(file)), set()
    text = file.read_text(encoding='utf-8')
    nodes = list(ast.walk(ast.parse(text)))
    names = [node for node in nodes if isinstance(node, ast.Name)]
    assigned = {node.id for node in names if isinstance(node.ctx, ast.Store)}
    used = {node.id for node in names if isinstance(node.ctx, ast.Load)}
    used |= set(re.findall(r'_base_\.(\w+)', text))
    for others, loaded in map(_names, _bases(file)):
        assigned, used = assigned | others, used | loaded
    return assigned, used


def _refuse_variable(config: Config, name: str, read: Container[str]) -> None:
    """Refuse to set what the file has only handed on, if its value stands where it is read."""
    # dict.get: a ConfigDict's own would import what a lazy config only names.
    value = dict.get(config._cfg_dict, name)
    if value is None:
        return
    places = [
        place
        for place, node in walk(config._cfg_dict)
        if place.partition('.')[0] in read and type(node) is type(value) and node == value
    ]
    if places:
        places.sort(key=lambda place: place.rpartition('.')[2] != name)
        raise UserError(
            f'--cfg-options sets {name}, a variable of the config file that nothing reads after '
            f'the file; set what holds its value: {", ".join(places[:SHOWN])}'
            f'{", ..." if len(places) > SHOWN else ""}.'
        )


def _warn_of_new_key(node: object, option: str) -> None:
    """Say of an option that is new to a dict without a type, and like what is there, that it is so.

    Elsewhere what is built refuses what it does not know.
    """
    for key in option.split('.'):
        if isinstance(node, (list, tuple)) and key.isdigit() and int(key) < len(node):
            node = node[int(key)]
        elif isinstance(node, dict) and key in node:
            node = dict.get(node, key)
        else:
            break
    else:
        return
    if isinstance(node, dict) and 'type' not in node and (near := did_you_mean(key, node.keys())):
        print_log(
            f"--cfg-options sets '{option}', where '{key}' is new to the config{near}; if nothing "
            'reads it, it changes nothing.',
            'current',
            WARNING,
        )


def walk(node: object, at: str = '') -> Iterator[tuple[str, Any]]:
    """Yield every dotted key below a node, as ``--cfg-options`` writes it, and what stands there.

    Args:
        node: A dict, list or tuple of a config; of anything else nothing is yielded.
        at: The dotted key of the node itself.
    """
    items: Iterable = ()
    if isinstance(node, dict):
        # dict.items: a ConfigDict's own would import what a lazy config only names.
        items = dict.items(node)
    elif isinstance(node, (list, tuple)):
        items = enumerate(node)
    for key, value in items:
        place = f'{at}.{key}' if at else str(key)
        yield place, value
        yield from walk(value, place)
