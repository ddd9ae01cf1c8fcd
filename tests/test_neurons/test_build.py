"""Neurons from configs: the type is a switch, and what it leaves out is said."""

import pytest

from mmspike.neurons import ILIF, LIF, build, build_neuron


def test_a_switched_type_leaves_out_what_other_neurons_have_and_says_so(monkeypatch):
    said = []
    monkeypatch.setattr(build, 'print_log', lambda text, *_: said.append(text))
    build._tell_foreign.cache_clear()
    integer = dict(type='mmspike.NILIF', levels=8, v_threshold=0.5)
    for _ in range(2):
        neuron = build_neuron({**integer, 'type': 'mmspike.LIF'})
    assert isinstance(neuron, LIF) and neuron.v_threshold == 0.5
    assert said == ['LIF has no levels, so levels=8 of the config is left out.']
    assert isinstance(build_neuron(dict(type=ILIF, tau=3.0)), ILIF)
    assert said[1:] == ['ILIF has no tau, so tau=3.0 of the config is left out.']


def test_an_option_that_no_neuron_has_is_refused():
    with pytest.raises(TypeError, match='taau'):
        build_neuron(dict(type='mmspike.LIF', taau=2.0))
