"""A backbone's start: the weights of a classifier that was trained on ImageNet."""

from pathlib import Path

from torch import Tensor, nn

from mmspike.checkpoint import find_weights, load_checkpoint_file, misfits, show_shape
from mmspike.errors import UserError
from mmspike.neurons import SpikingNeuron, warn_of_other_neurons

from .released import convert_state_dict, is_released

AUTHORS = 'https://github.com/BICLab/Spike-Driven-Transformer-V2'
WAY_OUT = (
    'give another with --cfg-options pretrained=FILE, or start from scratch with pretrained=None'
)


def load_pretrained(
    backbone: nn.Module, path: str, size: str | None = None, new: tuple[str, ...] = ()
) -> None:
    """Load a checkpoint into a backbone: one of ours, or a released one as it is.

    Ours may be that of a classifier, or of any model with this backbone; what stands outside of
    ``backbone.`` is left. A released one is recognized by its names and converted in memory. The
    file is read as plain data.

    Args:
        backbone: The backbone.
        path: A file of this machine.
        size: The backbone's size, which names the config that pretrains it; None if it has none.
        new: How the names of parameters begin that are never taken from a checkpoint.

    Raises:
        UserError: If the file is not there, no checkpoint, or of another size or network.
    """
    if not Path(path).expanduser().is_file():
        raise UserError(_not_there(path, size))
    checkpoint = load_checkpoint_file(path)
    warn_of_other_neurons(backbone, checkpoint, path)
    weights = _of_backbone(find_weights(checkpoint), path)
    if not weights.keys() & backbone.state_dict().keys():
        raise UserError(
            f"Checkpoint '{path}' is of another network, with weights such as "
            f'{next(iter(weights), "none")}, and not of this backbone; {WAY_OUT}.'
        )
    weights = {name: value for name, value in weights.items() if not name.startswith(new)}
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


def _of_backbone(weights: dict[str, Tensor], path: str) -> dict[str, Tensor]:
    if is_released(weights):
        try:
            weights = convert_state_dict(weights)
        except UserError as error:
            raise UserError(f"Checkpoint '{path}': {error}") from error
    prefix = 'backbone.'
    own = {name[len(prefix) :]: v for name, v in weights.items() if name.startswith(prefix)}
    return own or weights


def _not_there(path: str, size: str | None) -> str:
    config = f'configs/metaspike-{size}_t1_in1k.py' if size else 'a classifier of this backbone'
    return (
        f"The backbone starts from pretrained='{path}', which is not there: train {config} and "
        'give its checkpoint with --cfg-options pretrained=FILE, or give a released one in the '
        f'same way, as it is ({AUTHORS} links to them; that of the 55M is public), or start from '
        'scratch with pretrained=None.'
    )
