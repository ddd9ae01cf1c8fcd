"""Surrogate gradients against numerical derivatives and their closed forms."""

import math

import pytest
import torch

from mmspike.neurons.surrogate import SLOPES, spike

PRIMITIVES = {
    'sigmoid': lambda x, a: torch.sigmoid(a * x),
    'arctan': lambda x, a: torch.atan(math.pi / 2 * a * x) / math.pi + 0.5,
}


@pytest.mark.parametrize('name', PRIMITIVES)
@pytest.mark.parametrize('alpha', [0.5, 2.0, 4.0])
def test_slope_is_the_derivative_of_its_primitive(name, alpha):
    x = torch.linspace(-3, 3, 41, dtype=torch.float64, requires_grad=True)
    PRIMITIVES[name](x, alpha).sum().backward()
    torch.testing.assert_close(SLOPES[name](x, alpha), x.grad)


def test_rectangle_and_triangle_by_hand():
    x = torch.tensor([-0.6, -0.2, 0.0, 0.2, 0.6])
    assert SLOPES['rectangle'](x, 2.0).tolist() == [0, 2, 2, 2, 0]
    torch.testing.assert_close(SLOPES['triangle'](x, 2.0), torch.tensor([0.0, 1.2, 2.0, 1.2, 0.0]))


@pytest.mark.parametrize('name', SLOPES)
def test_slope_integrates_to_one(name):
    x = torch.linspace(-500, 500, 2_000_001, dtype=torch.float64)
    assert torch.trapezoid(SLOPES[name](x, 2.0), x).item() == pytest.approx(1, abs=2e-3)


@pytest.mark.parametrize('name', SLOPES)
def test_spike_fires_at_zero_and_its_gradient_is_the_slope(name):
    x = torch.tensor([-1.0, -0.1, 0.0, 0.1, 1.0], requires_grad=True)
    s = spike(x, name, 2.0)
    assert s.tolist() == [0, 0, 1, 1, 1]
    weight = torch.tensor([1.0, 2, 3, 4, 5])
    (s * weight).sum().backward()
    torch.testing.assert_close(x.grad, weight * SLOPES[name](x.detach(), 2.0))
