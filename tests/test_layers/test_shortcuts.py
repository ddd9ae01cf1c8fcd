"""The three shortcuts: numbers worked out by hand, and what flows through them."""

import pytest
import torch
from torch import nn

from mmspike.layers import SHORTCUTS, ChannelConv, MetaBlock, take_entry_neuron
from mmspike.neurons import LIF, set_time_steps

T, B = 2, 2


class Scaled(nn.Module):
    """A mixer of one weight, on spikes."""

    def __init__(self, weight):
        super().__init__()
        self.neuron = LIF()
        self.weight = weight
        self.seen = []

    def forward(self, x):
        spikes = self.neuron(x)
        self.seen.append(spikes)
        return self.weight * spikes


def run(kind, x, first=True, weights=(2.5, -1.5)):
    block = SHORTCUTS[kind][0 if first else 1](*(Scaled(w) for w in weights))
    set_time_steps(block, T)
    out = block(torch.tensor(x).reshape(T * B, 1, 1, 1)).flatten().tolist()
    return out, [m.seen[0].flatten().tolist() for m in (block.token_mixer, block.channel_mixer)]


# tau = 2, threshold 1, reset to 0: U = V + (X - V) / 2. Two images, two time steps each.
X = [2.0, 1.5, 0.5, 1.5]  # [T*B]: image 0 has 2.0, 0.5; image 1 has 1.5, 1.5.


def test_membrane_shortcut_by_hand():
    # Image 0: U = 1.0 (fires), 0.25. Image 1: U = 0.75, 1.125 (fires). Spikes 1 0 | 0 1.
    # Sums X + 2.5 S: 4.5, 1.5, 0.5, 4.0. Image 0: U = 2.25 (fires), 0.25; image 1: 0.75, 2.375.
    # Sums - 1.5 S: 3.0, 1.5, 0.5, 2.5.
    out, seen = run('ms', X)
    assert seen == [[1, 0, 0, 1], [1, 0, 0, 1]]
    assert out == [3.0, 1.5, 0.5, 2.5]


def test_vanilla_shortcut_by_hand():
    # The same first spikes 1 0 | 0 1; sums S + 2.5 S: 3.5, 0, 0, 3.5.
    # Image 0: U = 1.75 (fires), 0. Image 1: U = 0, 1.75 (fires). Sums S - 1.5 S.
    out, seen = run('vs', X)
    assert seen == [[1, 0, 0, 1], [1, 0, 0, 1]]
    assert out == [-0.5, 0.0, 0.0, -0.5]


def test_spike_element_wise_shortcut_by_hand():
    # The same first spikes 1 0 | 0 1. Image 0: 2.5 S = 2.5, 0: fires, not. Image 1: 0, 2.5: not,
    # fires. Counts S + S: 2, 0, 0, 2. -1.5 times those never fires: the counts stay.
    out, seen = run('sew', X)
    assert seen == [[1, 0, 0, 1], [2, 0, 0, 2]]
    assert out == [2.0, 0.0, 0.0, 2.0]
    # Fires both times: 2 + 1.
    assert run('sew', X, weights=(2.5, 2.5))[0] == [3.0, 0.0, 0.0, 3.0]


def test_later_spike_element_wise_blocks_take_counts_as_they_are():
    out, seen = run('sew', [2.0, 0.0, 1.0, 3.0], first=False)
    # Image 0: 2.5 * (2, 1) = 5, 2.5 fires twice; image 1: 0, 7.5 fires once.
    assert seen == [[2, 0, 1, 3], [3, 0, 2, 4]]
    assert out == [3.0, 0.0, 2.0, 4.0]


@pytest.mark.parametrize('kind', list(SHORTCUTS))
def test_without_a_token_mixer_its_shortcut_goes_too(kind):
    mixer = Scaled(2.0)
    block = set_time_steps(SHORTCUTS[kind][0](None, mixer), T)
    x = torch.full((T * B, 1, 1, 1), 2.0)
    expected = {'ms': 2.0 + 2.0, 'vs': 1.0 + 2.0, 'sew': 1.0 + 1.0}[kind]
    assert torch.equal(block(x), torch.full_like(x, expected))


def test_shortcuts_have_the_same_parameters():
    names = [
        list(cls(ChannelConv(4), ChannelConv(4)).state_dict())
        for pair in SHORTCUTS.values()
        for cls in pair
    ]
    assert all(n == names[0] for n in names)
    assert SHORTCUTS['ms'] == (MetaBlock, MetaBlock)


def test_only_a_module_with_a_neuron_can_give_it_away():
    mixer = ChannelConv(4, neuron=dict(type='mmspike.LIF', tau=3.0))
    assert take_entry_neuron(mixer).tau == 3.0
    assert isinstance(mixer[0].conv.neuron, nn.Identity)
    assert isinstance(mixer[1].conv.neuron, LIF)
    with pytest.raises(ValueError, match='Conv2d has no neuron that could be moved'):
        take_entry_neuron(nn.Conv2d(4, 4, 1))
