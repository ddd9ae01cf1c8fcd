"""The weights of a checkpoint against the model that they go into: every one of them must fit."""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.model import BaseTTAModel, is_model_wrapper
from torch import nn

from mmspike.checkpoint import find_weights, is_local, load_checkpoint_file, misfits, show_shape
from mmspike.errors import UserError
from mmspike.neurons import warn_of_other_neurons

# What mmseg, mmdet and mmpretrain call the layers that have an output for every class.
CLASSIFYING_LAYERS = ('conv_seg', 'fc_cls', 'conv_logits', 'retina_cls', 'conv_cls', 'fc')


def check_fits(
    model: nn.Module, checkpoint: dict, path: str | Path, optional: tuple[str, ...] = ()
) -> None:
    """Load a checkpoint's weights into a model, and demand that every one of them fits.

    mmengine only logs what does not fit and then goes on with random weights.

    Args:
        model: The model, possibly wrapped for distribution or test-time augmentation.
        checkpoint: What `load_checkpoint_file` returned.
        path: Its file, for the message.
        optional: How the names of parameters begin that the checkpoint may lack.

    Raises:
        UserError: If a shape differs or a parameter of the model is absent.
    """
    model, weights = unwrap(model), find_weights(checkpoint)
    _check_options(model, weights, path)
    warn_of_other_neurons(model, checkpoint, path)
    for name, shape, own in misfits(model, weights):
        there = f'{name} is {show_shape(shape)} there and {show_shape(own)} in the config'
        classes = _class_counts(model, name, shape, own)
        if classes is None:
            raise UserError(
                f"Checkpoint '{path}' is of another model: {there}; use the config it was "
                'trained with.'
            )
        raise UserError(
            f"Checkpoint '{path}' has num_classes={classes[0]} and the config "
            f'num_classes={classes[1]}: {there}; use the config it was trained with.'
        )
    missing = model.load_state_dict(weights, strict=False).missing_keys
    missing = [name for name in missing if not name.startswith(optional)]
    if missing:
        raise UserError(
            f"Checkpoint '{path}' is of another model: it lacks {missing[0]} and "
            f'{len(missing) - 1} more; use the config it was trained with.'
        )


def check_start(model: nn.Module, checkpoint: dict, path: str | Path) -> str | None:
    """Demand that a new run starts from weights of its own model, whatever their classes.

    Args:
        model: The model, possibly wrapped for distribution.
        checkpoint: What `load_checkpoint_file` returned.
        path: Its file, for the sentence.

    Returns:
        A sentence for the log where the number of classes differs, else None.

    Raises:
        UserError: If shapes differ and not for the number of classes, or no weight has the name of
            one of the model's.
    """
    model, weights = unwrap(model), find_weights(checkpoint)
    way_out = 'set --cfg-options load_from=FILE, or load_from=None to start from scratch'
    if not weights.keys() & model.state_dict().keys():
        raise UserError(f"Checkpoint '{path}' holds no weight of this model; {way_out}.")
    _check_options(model, weights, path)
    warn_of_other_neurons(model, checkpoint, path)
    differing = list(misfits(model, weights))
    for name, shape, own in differing:
        classes = _class_counts(model, name, shape, own)
        if classes is not None:
            return (
                f"Checkpoint '{path}' has num_classes={classes[0]} and the config "
                f'num_classes={classes[1]}, so {name.rpartition(".")[0]} and whatever else depends '
                'on the classes starts from new weights, the rest from the checkpoint.'
            )
    if differing:
        name, shape, own = differing[0]
        raise UserError(
            f"Checkpoint '{path}' is of another model: {name} is {show_shape(shape)} there and "
            f'{show_shape(own)} in the config; {way_out}.'
        )
    return None


def _check_options(model: nn.Module, weights: Mapping, path: str | Path) -> None:
    """Demand that a backbone has the options that a checkpoint of its kind was trained with."""
    for name, backbone in model.named_modules():
        if not hasattr(backbone, 'explain_misfit'):
            continue
        prefix = f'{name}.' if name else ''
        own = [key.removeprefix(prefix) for key in weights if key.startswith(prefix)]
        if own and (reason := backbone.explain_misfit(own)) is not None:
            raise UserError(f"Checkpoint '{path}' {reason}, or give another checkpoint.")


def is_wrapped(model: nn.Module) -> bool:
    """Whether a model is wrapped for distributed training or test-time augmentation."""
    return is_model_wrapper(model) or isinstance(model, BaseTTAModel)


def unwrap(model: Any) -> nn.Module:
    """Take a model out of its wrappers for distributed training or test-time augmentation."""
    while is_wrapped(model):
        model = model.module
    return model


def _class_counts(
    model: nn.Module, name: str, shape: torch.Size | None, own: torch.Size
) -> tuple[int, int] | None:
    """Tell the classes of a checkpoint and of the model, if a tensor differs in nothing else.

    Returns:
        Both numbers; None if this is no classifying layer, or if more than its classes differs.
    """
    head_name, _, layer = name.rpartition('.')[0].rpartition('.')
    ours = getattr(model.get_submodule(head_name), 'num_classes', None)
    if layer not in CLASSIFYING_LAYERS or not ours or not shape or shape[1:] != own[1:]:
        return None
    # A softmax over boxes has one more output, for what is no object.
    background = own[0] - ours if layer == 'fc_cls' else 0
    outputs = (own[0] - background) // ours  # Several where a position has several anchors.
    if outputs == 0 or (shape[0] - background) % outputs:
        return None
    return (shape[0] - background) // outputs, ours


def check_pretrained(model: nn.Module) -> None:
    """Demand that the files that parts of mmspike are initialized from fit those parts.

    mmengine only logs what does not fit and then trains from random weights.

    Args:
        model: A model that is built and not yet initialized.

    Raises:
        UserError: If a file of `pretrained` is not there, a shape differs or a parameter is absent.
    """
    for backbone in pretrained_backbones(model):
        backbone.load_pretrained()
    for module in model.modules():
        if not type(module).__module__.startswith('mmspike.'):
            continue
        init_cfgs = getattr(module, 'init_cfg', None) or []
        for init_cfg in [init_cfgs] if isinstance(init_cfgs, Mapping) else init_cfgs:
            for path in pretrained_files(init_cfg):
                weights = find_weights(load_checkpoint_file(path))
                prefix = init_cfg.get('prefix') or ''
                own = {k[len(prefix) :]: v for k, v in weights.items() if k.startswith(prefix)}
                check_fits(module, own, path, getattr(module, 'not_pretrained', ()))


def pretrained_backbones(model: nn.Module) -> Iterator[Any]:
    """Yield the backbones of mmspike that start from a file when the model is initialized."""
    for module in model.modules():
        if hasattr(module, 'load_pretrained') and module.pretrained:
            yield module


def start_without_pretrained(model: nn.Module, why: str, level: int = logging.INFO) -> None:
    """Let the backbones of a model start without the file of `pretrained`, and log why.

    Args:
        model: A model that is built and not yet initialized.
        why: The rest of the sentence.
        level: Of the log.
    """
    for backbone in pretrained_backbones(model):
        print_log(
            f"The backbone does not start from pretrained='{backbone.pretrained}': {why}.",
            'current',
            level,
        )
        backbone.pretrained = None


def check_teacher(model: nn.Module) -> None:
    """Demand that the checkpoint of a model's teacher, if it has one, fits that teacher.

    Args:
        model: A model that is built, possibly wrapped for distribution.

    Raises:
        UserError: If the file is absent, or a shape differs or a parameter is missing.
    """
    teacher = getattr(unwrap(model), 'teacher', None)
    if isinstance(teacher, nn.Module):
        for path in pretrained_files(teacher.init_cfg):
            check_fits(teacher, load_checkpoint_file(path), path)


def pretrained_files(node: object) -> Iterator[str]:
    """Find the local files that ``init_cfg=dict(type='Pretrained', checkpoint=...)`` names.

    Args:
        node: A model config or any part of it.
    """
    if isinstance(node, Mapping):
        path = node.get('checkpoint')
        if node.get('type') == 'Pretrained' and isinstance(path, str) and is_local(path):
            yield path
        node = list(node.values())
    if isinstance(node, (list, tuple)):
        for child in node:
            yield from pretrained_files(child)
