"""A backbone's start: the weights of a classifier that was trained on ImageNet."""

import logging
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from mmengine.logging import print_log
from torch import Tensor

from mmspike.checkpoint import find_weights, load_checkpoint_file, misfits, show_shape
from mmspike.errors import UserError
from mmspike.neurons import SpikingNeuron, warn_of_other_neurons

from .released import ReleasedNames, find_released

WAY_OUT = (
    'give another with --cfg-options pretrained=FILE, or start from scratch with pretrained=None'
)


def choose_start(kind: str, pretrained: object, init_cfg: dict | list[dict] | None) -> str | None:
    """Check the file that a backbone is to start from.

    Args:
        kind: The name of the backbone's class.
        pretrained: What its config says; a name of the model zoo is left out with a warning.
        init_cfg: Its initialization config, which must not name another file.

    Raises:
        UserError: If it is no file name, or there are two starts.
    """
    if pretrained is not None and (not isinstance(pretrained, str) or not pretrained):
        raise UserError(
            f'pretrained is {pretrained!r}, but it must be a checkpoint file, or None to start '
            'from scratch.'
        )
    init_cfgs = [init_cfg] if isinstance(init_cfg, Mapping) else init_cfg or []
    if pretrained and any(cfg.get('type') == 'Pretrained' for cfg in init_cfgs):
        raise UserError(
            f"the backbone has pretrained='{pretrained}', and a checkpoint in its init_cfg; "
            'leave init_cfg out and give its file as pretrained, converted or not.'
        )
    if pretrained and '://' in pretrained:
        print_log(
            f'The config names pretrained={pretrained!r}, weights of another backbone; {kind} '
            'starts without them. Set pretrained=None to silence this.',
            logger='current',
            level=logging.WARNING,
        )
        return None
    return pretrained


def names_in(path: object) -> Collection[str]:
    """Name the weights in a checkpoint file; none where there is no such file."""
    if not isinstance(path, str) or not Path(path).expanduser().is_file():
        return ()
    return find_weights(load_checkpoint_file(path)).keys()


def load_pretrained(backbone: Any, path: str) -> None:
    """Load a checkpoint into a backbone: one of ours, or a released one as it is.

    Ours may be that of a classifier, or of any model with this backbone; what stands outside of
    ``backbone.`` is left. A released one is recognized by its names and converted in memory. The
    file is read as plain data.

    Args:
        backbone: A `mmspike.models.SpikingBackbone`.
        path: A file of this machine.

    Raises:
        UserError: If the file is not there, no checkpoint, or of another size or network.
    """
    if not Path(path).expanduser().is_file():
        raise UserError(_not_there(path, backbone))
    new: tuple[str, ...] = backbone.not_pretrained
    checkpoint = load_checkpoint_file(path)
    warn_of_other_neurons(backbone, checkpoint, path)
    weights = _of_backbone(find_weights(checkpoint), path, backbone)
    if not weights.keys() & backbone.state_dict().keys():
        raise UserError(
            f"Checkpoint '{path}' is of another network, with weights such as "
            f'{next(iter(weights), "none")}, and not of this backbone; {WAY_OUT}.'
        )
    weights = {name: value for name, value in weights.items() if not name.startswith(new)}
    if (reason := backbone.explain_misfit(weights)) is not None:
        raise UserError(f"Checkpoint '{path}' {reason}, or {WAY_OUT}.")
    for name, shape, own in misfits(backbone, weights):
        raise UserError(
            f"Checkpoint '{path}' is of another size than this backbone: {name} is "
            f'{show_shape(shape)} there and {show_shape(own)} in the config; {WAY_OUT}.'
        )
    missing = backbone.load_state_dict(weights, strict=False).missing_keys
    # What a neuron learns starts as it is built, where the file is of neurons that learn nothing.
    neurons = {n for n, m in backbone.named_modules() if isinstance(m, SpikingNeuron)}
    missing = [
        name
        for name in missing
        if not name.startswith(new) and name.rpartition('.')[0] not in neurons
    ]
    if missing:
        raise UserError(
            f"Checkpoint '{path}' is of another backbone: it lacks {missing[0]} and "
            f'{len(missing) - 1} more; {WAY_OUT}.'
        )


def _of_backbone(weights: dict[str, Tensor], path: str, backbone: Any) -> dict[str, Tensor]:
    released = find_released(weights)
    if released is not None and released is not backbone.released:
        raise UserError(
            f"Checkpoint '{path}' is a released {released.network}, and the backbone is another "
            f'network, {type(backbone).__name__}; {WAY_OUT}.'
        )
    if released is not None:
        try:
            weights = released.convert_state_dict(weights)
        except UserError as error:
            raise UserError(f"Checkpoint '{path}': {error}") from error
    prefix = 'backbone.'
    own = {name[len(prefix) :]: v for name, v in weights.items() if name.startswith(prefix)}
    return own or weights


def _not_there(path: str, backbone: Any) -> str:
    released: ReleasedNames | None = backbone.released
    config, given = 'a classifier of this backbone', ''
    if released is not None:
        config = (
            f'configs/{released.config.format(size=backbone.size)}' if backbone.size else config
        )
        given = f', or give a released one in the same way, as it is ({released.source})'
    elif backbone.ann_weights:
        given = f', or give in the same way {backbone.ann_weights}'
    return (
        f"The backbone starts from pretrained='{path}', which is not there: train {config} and "
        f'give its checkpoint with --cfg-options pretrained=FILE{given}, or start from scratch '
        'with pretrained=None.'
    )
