"""The gate and the layer of two stacks, against the formulas of their docstrings."""

import pytest
import torch
import torch.nn.functional as F

from pixelvae.nn.causal import channel_mask
from pixelvae.nn.gated import GatedLayer, gate

pytestmark = pytest.mark.usefixtures("float64")
P = 3


def by_hand(a):
    return a[:, :P].tanh() * a[:, P:].sigmoid()


def test_gate_is_tanh_times_sigmoid():
    """First the filter's half, then the gate's; also far out, where 2σ(2a) − 1 must not overflow."""
    a = torch.cat([torch.randn(4, 2 * P), torch.full((1, 2 * P), 1e3), torch.full((1, 2 * P), -1e3)])
    torch.testing.assert_close(gate(a), by_hand(a))
    assert torch.autograd.functional.jacobian(gate, a).isfinite().all()


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("last", [True, False])
def test_layer_is_its_formula(first, last):
    """The vertical sum enters the horizontal one before its gate; the context enters both gates."""
    layer = GatedLayer(P, P, rows=2, columns=3, taps=2, mask=None, first=first, last=last)
    v, h = torch.randn(2, 2, P, 4, 5)
    v_context, h_context = torch.randn(2, 2, 2 * P, 4, 5)
    weights = layer.vertical, layer.horizontal
    a_v = F.conv2d(F.pad(v, (1, 1, 1, 0)), weights[0].weight, weights[0].bias) + v_context
    a_h = F.conv2d(F.pad(h, (1, 0)), weights[1].weight, weights[1].bias) + h_context
    a_h = a_h + F.conv2d(a_v, layer.vertical_to_horizontal.weight)
    v_out, h_out, y = layer(v, h, v_context, h_context)
    torch.testing.assert_close(y, by_hand(a_h))
    if not last:
        residual = F.conv2d(y, layer.out.weight, layer.out.bias)
        torch.testing.assert_close(v_out, by_hand(a_v))
        torch.testing.assert_close(h_out, residual if first else h + residual)


def test_layer_keeps_the_order_of_the_channels():
    """At the site of h itself, channel c of y and h' depends on exactly the channels up to c."""
    order = channel_mask(P, P, P, strict=False)
    layer = GatedLayer(P, P, rows=2, columns=3, taps=2, mask=order)
    v = torch.randn(1, P, 2, 2)
    for i in (1, 2):
        jacobian = torch.autograd.functional.jacobian(lambda h, i=i: layer(v, h, 0.0, 0.0)[i], torch.randn(1, P, 2, 2))
        assert torch.equal(jacobian[0, :, 1, 1, 0, :, 1, 1] != 0, order != 0)
