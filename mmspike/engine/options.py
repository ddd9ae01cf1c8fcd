"""What ``--cfg-options`` may set: only what something reads."""

import inspect
from collections.abc import Container, Iterable
from logging import WARNING

from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.runner import Runner

from mmspike.errors import UserError, did_you_mean

from .nodes import walk

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


def check_options(config: Config, options: Iterable[str]) -> None:
    """Demand of every option that something reads it.

    Args:
        config: The config, as its file says.
        options: The dotted keys that are to be set in it.

    Raises:
        UserError: If one is neither in the config nor read by anything, or is a variable of
            the file, which mmengine would keep and never look at.
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
    """Say of an option that is new to a dict, and much like what is there, that it may be misspelt.

    Only of a dict without a type, such as ``model.test_cfg``: elsewhere what is built refuses what
    it does not know.
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


def check_runner_options(config: Config) -> None:
    """Refuse what a runner reads, but what cannot do for the config's model what it says.

    Args:
        config: The whole config of a training.

    Raises:
        UserError: If the config asks for it.
    """
    # mmengine's checkpointing is reentrant: gradients pass only where an argument is a tensor that
    # needs one. A picture is none, nor are the features that a neck or a head gets as a tuple.
    if modules := config.get('activation_checkpointing'):
        raise UserError(
            f'activation_checkpointing is {modules!r}, but mmengine computes again in a way that '
            'gives a backbone, and whatever takes a tuple, no gradient, so that it never learns; '
            'leave it out and save memory with model.backbone.with_cp=True.'
        )
    types = (value for key, value in walk(config.model) if key.rpartition('.')[2] == 'type')
    spiking = any(str(kind).startswith('mmspike.') for kind in types)
    if spiking and (modules := config.get('efficient_conv_bn_eval')):
        raise UserError(
            f'efficient_conv_bn_eval is {modules!r}, but torch.fx, by which mmengine does it, '
            'cannot trace a spiking model; leave it out.'
        )
    if config.get('strategy') or config.get('runner_type') == 'FlexibleRunner':
        raise UserError(
            'the config asks for the FlexibleRunner of mmengine and its strategies, which '
            'mmspike does not know; leave strategy and runner_type out, and use '
            'tools/dist_train.sh for several GPUs.'
        )
