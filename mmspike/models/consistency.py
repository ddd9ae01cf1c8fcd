"""A backbone and what stands behind it: what does not fit together is refused."""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from torch import nn

from mmspike.errors import UserError
from mmspike.layers import find_bare

# How far a level of unpadded or rounded size may be from its stride; a wrong one is 2 away.
ROUNDING = 2**0.5


class Told(NamedTuple):
    """The strides that a part of a model is told, and the levels that it takes; None is the first.

    Args:
        name: The part's name in the model.
        strides: A stride for each level.
        levels: The levels' indices.
    """

    name: str
    strides: tuple[int, ...]
    levels: tuple[int, ...] | None


def check_outputs(
    name: str,
    wanted: Sequence[int] | None,
    own: tuple[int, ...],
    allowed: Sequence[int] | None = None,
) -> tuple[int, ...]:
    """Check what is asked of the outputs against what the stages have; None asks for just that.

    Args:
        name: The argument's name, for the message.
        wanted: A number for each output.
        own: What the stages have.
        allowed: The numbers to choose from; None allows a stage's own and twice that.

    Raises:
        UserError: If there are more or fewer numbers than outputs, or one is not allowed.
    """
    if wanted is None:
        return own
    wanted = tuple(wanted)
    choices = [allowed or (number, 2 * number) for number in own]
    fits = len(wanted) == len(own) and all(
        value in choice for value, choice in zip(wanted, choices, strict=True)
    )
    if not fits:
        rule = 'positive integers' if allowed else f'each that of {own} or twice that'
        raise UserError(
            f'{name} is {wanted!r}, but it must be {len(own)} numbers, one for each of '
            f'out_indices, {rule}.'
        )
    return wanted


def check_extractor(name: str, part: nn.Module) -> None:
    """Refuse a stock extractor: it takes RoIs of the first step alone, and channels first.

    Raises:
        UserError: If it is one.
    """
    if hasattr(part, 'roi_layers') and not hasattr(part, 'time_steps'):
        raise UserError(
            f'{name} is a {type(part).__name__}, which knows no time steps: write '
            "type='mmspike.SpikeRoIExtractor' there, which takes the same arguments, or "
            "time_reduction='mean' in the backbone."
        )


def check_neck(neck: nn.Module | None, outputs: Sequence[int] | None) -> None:
    """Refuse a neck that is made for other channels than those that reach it.

    Args:
        neck: The neck, if the model has one.
        outputs: The channels of the backbone's outputs, if it tells them.

    Raises:
        UserError: If the numbers differ.
    """
    told = getattr(neck, 'in_channels', None)
    if outputs and isinstance(told, (list, tuple)) and tuple(told) != tuple(outputs):
        raise UserError(
            f'the neck has in_channels={list(told)}, but the outputs of the backbone have '
            f'{list(outputs)} channels; set them there, or out_indices or out_channels of the '
            'backbone.'
        )


def check_weight_layers(model: nn.Module) -> None:
    """Refuse weight layers behind a spiking backbone that multiply something other than spikes.

    Losses and teachers may have any.

    Raises:
        UserError: If there is one that has no neuron before it, nor is declared to have none.
    """
    names = [
        f'{part}.{name}'.rstrip('.')
        for part, module in model.named_children()
        if part not in ('backbone', 'data_preprocessor')
        for name in find_bare(module)
    ]
    names = [name for name in names if not re.search(r'(^|\.)teacher', name)]
    if names:
        more = f' (and {len(names) - 1} more)' if len(names) > 1 else ''
        layer, part = model.get_submodule(names[0]), names[0].split('.')[0]
        raise UserError(
            f'{names[0]}{more} is a {type(layer).__name__} without a neuron before it, but the '
            f'backbone spikes: give the class of {part} the mixin mmspike.layers.SpikingHead, '
            "which calls make_spiking (docs/own_head.md), or set time_reduction='mean' in the "
            'backbone.'
        )


def told_strides(model: nn.Module) -> Iterator[Told]:
    """Find what the parts of a model are told: anchor and point generators, RoI extractors, heads.

    Args:
        model: A model of mmdet, mmseg or mmpretrain.
    """
    for name, part in model.named_modules():
        if name.endswith('semantic_roi_extractor'):
            continue  # It takes the map of HTC's semantic head, not the levels.
        generator = getattr(part, 'prior_generator', None)
        strides = getattr(part, 'featmap_strides', None) or getattr(part, 'feature_strides', None)
        if generator is not None:
            strides = [max(stride) for stride in generator.strides]  # Pairs (width, height).
        chosen = getattr(part, 'in_index', None)  # Of segmentation heads.
        if strides:
            levels = tuple(chosen) if isinstance(chosen, (list, tuple)) else None
            yield Told(name, tuple(strides), levels)


def check_strides(
    told: Sequence[Told], image: Sequence[int], levels: Sequence[Sequence[int]]
) -> None:
    """Compare what parts are told with the levels of features that reach them.

    A wrong stride would train without complaint, anchors and features in different places.

    Args:
        told: What the parts are told.
        image: Height and width of the images.
        levels: Height and width of each level.

    Raises:
        UserError: If a level that a part takes has another stride.
    """
    for name, strides, chosen in told:
        if chosen is not None and max(chosen) >= len(levels):
            continue  # The head says that itself.
        taken = [levels[i] for i in chosen] if chosen is not None else levels
        # A pyramid may have levels more than a part takes.
        if not all(_fits(*pair, image) for pair in zip(strides, taken, strict=False)):
            found = tuple(round(max(image) / max(size)) for size in taken)
            raise UserError(
                f'{name} is told the strides {strides}, but the levels that reach it have {found}; '
                'set them there, or model.backbone.out_strides.'
            )


def _fits(stride: int, level: Sequence[int], image: Sequence[int]) -> bool:
    """Tell whether a level may have this stride; every layer rounds its size as it likes."""
    return all(
        abs(whole / stride - size) < 1 or 1 / ROUNDING < whole / size / stride < ROUNDING
        for whole, size in zip(image, level, strict=True)
    )
