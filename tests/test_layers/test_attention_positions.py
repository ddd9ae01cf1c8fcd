"""A threshold that follows the number of positions: SDSA fires the same on a tiled picture."""

import pytest
import torch

from mmspike.errors import UserError
from mmspike.layers.attention import ATTENTIONS
from mmspike.models.backbones import MetaSpikeFormer
from mmspike.neurons import LIF, NILIF, default_neuron, set_time_steps

T, B = 2, 2


@pytest.mark.parametrize('neuron', [LIF, NILIF])
@pytest.mark.parametrize('kind', ATTENTIONS)
def test_a_picture_beside_its_copy_fires_as_it_does_alone(kind, neuron):
    """Every sum over positions doubles, and so does the threshold."""
    torch.manual_seed(0)
    with default_neuron(dict(type=neuron)):
        own = set_time_steps(ATTENTIONS[kind](16, 2, positions=20), T)
        fixed = set_time_steps(ATTENTIONS[kind](16, 2), T)
    operands = [torch.randint(0, 2, (T * B, 16, 4, 5)).float() for _ in own.operands]
    tiled = [torch.cat([x, x], dim=-1) for x in operands]
    alone = own.attend(*operands)
    assert torch.equal(alone, fixed.attend(*operands)), 'the number of positions is its own'
    assert torch.equal(own.attend(*tiled), torch.cat([alone, alone], dim=-1))
    if kind in ('sdsa3', 'sdsa4'):  # The gates of the others are open to these, once or twice.
        assert not torch.equal(fixed.attend(*tiled), torch.cat([alone, alone], dim=-1))


def test_the_option_reaches_the_attention_and_bad_values_are_refused():
    arch = dict(dims=(4, 8, 16, 16, 24), depths=(1, 1, 1, 1, 1), heads=4)
    model = MetaSpikeFormer(arch, variant=dict(positions=192))
    assert model.stages[3][0].token_mixer.positions == 192
    for value in (0, 1.5, True):
        with pytest.raises(UserError, match=f'positions is {value}, .* or a positive integer'):
            MetaSpikeFormer(arch, variant=dict(positions=value))
