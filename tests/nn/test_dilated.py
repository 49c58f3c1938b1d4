"""Two taps, far apart, are a dilated convolution."""

import pytest
import torch
import torch.nn.functional as F

from pixelvae.nn.dilated import DilatedLayer, delay

pytestmark = pytest.mark.usefixtures("float64")


@pytest.mark.parametrize("steps", [0, 1, 3, 7, 20])
def test_a_delay_shows_what_was_there_before(steps):
    """And zero before the beginning, also where nothing else is left."""
    x = torch.randn(2, 3, 7)
    delayed = delay(x, steps)
    assert delayed.shape == x.shape
    assert not delayed[..., :steps].any()
    assert torch.equal(delayed[..., steps:], x[..., : max(7 - steps, 0)])


@pytest.mark.parametrize("dilation", [1, 2, 8, 16])
def test_it_is_a_dilated_convolution_through_the_gate(dilation):
    layer, h, context = DilatedLayer(3, dilation), torch.randn(2, 3, 12), torch.randn(2, 6, 12)
    weight = layer.taps.weight[:, :, 0].unflatten(1, (2, 3)).mT  # (2p, p, 2)
    a = F.conv1d(F.pad(h, (dilation, 0)), weight, layer.taps.bias, dilation=dilation) + context
    y = a[:, :3].tanh() * a[:, 3:].sigmoid()
    h_next, y_given = layer(h, context)
    torch.testing.assert_close(y_given, y)
    torch.testing.assert_close(h_next, h + F.conv1d(y, layer.out.weight))


def test_the_last_layer_has_no_idle_weights():
    layer, h = DilatedLayer(3, 1, last=True), torch.randn(2, 3, 5)
    assert layer.out is None
    assert layer(h, 0.0)[0] is h
