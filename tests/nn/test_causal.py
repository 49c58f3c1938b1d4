"""Causality by shape: exactly zero Jacobians outside the kernels, the plain convolution within."""

import pytest
import torch
import torch.nn.functional as F

from pixelvae.nn.causal import CausalConv2d, Pointwise, channel_mask, shift_down, shift_right

pytestmark = pytest.mark.usefixtures("float64")
ROWS, COLUMNS = 5, 7
MIDDLE = (3, 3)


def seen_from_the_middle(layer, channels):
    """The sites on which the output at MIDDLE depends, by the Jacobian."""
    x = torch.randn(1, channels, ROWS, COLUMNS, requires_grad=True)
    (gradient,) = torch.autograd.grad(layer(x)[:, :, *MIDDLE].sum(), x)
    return {tuple(site) for site in gradient[0].any(0).nonzero().tolist()}


@pytest.mark.parametrize("rows", [1, 2, 4])
@pytest.mark.parametrize(("columns", "centred"), [(1, False), (3, False), (1, True), (3, True), (5, True)])
def test_causal_convolution_sees_its_kernel_and_nothing_else(rows, columns, centred):
    """Rows i-rows+1 .. i; columns centred on j, or j-columns+1 .. j."""
    left = columns // 2 if centred else columns - 1
    i, j = MIDDLE
    kernel = {(a, b) for a in range(i - rows + 1, i + 1) for b in range(j - left, j - left + columns)}
    layer = CausalConv2d(2, 3, rows, columns, centred=centred)
    assert seen_from_the_middle(layer, 2) == kernel
    assert layer(torch.zeros(2, 2, ROWS, COLUMNS)).shape == (2, 3, ROWS, COLUMNS)


def test_causal_convolution_is_a_masked_convolution():
    """The padded kernel of causal shape is a symmetric kernel with zeros behind the site."""
    layer, x = CausalConv2d(2, 3, 2, 3), torch.randn(2, 2, ROWS, COLUMNS)
    weight = torch.zeros(3, 2, 3, 5)
    weight[:, :, :2, :3] = layer.weight
    torch.testing.assert_close(layer(x), F.conv2d(x, weight, layer.bias, padding=(1, 2)))


@pytest.mark.parametrize(
    ("shift", "source"), [(shift_down, (MIDDLE[0] - 1, MIDDLE[1])), (shift_right, (MIDDLE[0], MIDDLE[1] - 1))]
)
def test_shift_shows_one_neighbour(shift, source):
    """Down shows the pixel above, right the pixel to the left, and the freed edge is zero."""
    assert seen_from_the_middle(shift, 2) == {source}
    ones = shift(torch.ones(1, 1, ROWS, COLUMNS))
    assert ones.sum() == (ROWS - 1) * COLUMNS if shift is shift_down else ROWS * (COLUMNS - 1)
    assert not (ones[0, 0, 0] if shift is shift_down else ones[0, 0, :, 0]).any()


def test_channel_mask_orders_red_green_blue():
    """Strict: groups before only (mask A); else the own group too (mask B)."""
    strict = torch.tensor([[0, 0, 0], [0, 0, 0], [1, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 0]])
    own = torch.tensor([[1, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 0], [1, 1, 1], [1, 1, 1]])
    assert torch.equal(channel_mask(6, 3, 3, strict=True).long(), strict)
    assert torch.equal(channel_mask(6, 3, 3, strict=False).long(), own)
    assert torch.equal(channel_mask(3, 6, 3, strict=False).long().T.flip(0, 1), own)


@pytest.mark.parametrize(("out_channels", "in_channels", "name"), [(4, 3, "out_channels=4"), (3, 5, "in_channels=5")])
def test_channel_mask_refuses_what_it_cannot_split(out_channels, in_channels, name):
    """Three colours need multiples of three."""
    with pytest.raises(ValueError, match=name):
        channel_mask(out_channels, in_channels, 3, strict=True)


@pytest.mark.parametrize(
    "layer",
    [
        lambda mask: CausalConv2d(3, 6, 2, 3, current_mask=mask),
        lambda mask: Pointwise(3, 6, mask),
    ],
    ids=["convolution", "pointwise"],
)
def test_mask_holds_for_values_and_gradients(layer):
    """At the current site the Jacobian is the mask, exactly; masked entries of the weight get no gradient."""
    mask = channel_mask(6, 3, 3, strict=True)
    layer, x = layer(mask), torch.randn(1, 3, 3, 4)
    jacobian = torch.autograd.functional.jacobian(layer, x)[0, :, 1, 2, 0, :, 1, 2]  # (6, 3)
    assert torch.equal(jacobian != 0, mask != 0)
    layer(x).sum().backward()
    current = layer.weight.grad[:, :, -1, -1]
    assert torch.equal(current != 0, mask != 0)
    assert layer.weight.grad[:, :, :-1].all()  # other taps are free


def test_pointwise_is_a_matrix_at_every_site():
    """W x + b, without a mask all of W."""
    layer, x = Pointwise(2, 3), torch.randn(2, 2, ROWS, COLUMNS)
    by_hand = torch.einsum("oc,bchw->bohw", layer.weight[:, :, 0, 0], x) + layer.bias[:, None, None]
    torch.testing.assert_close(layer(x), by_hand)
    assert Pointwise(2, 3, bias=False).bias is None


def test_mask_is_no_part_of_a_checkpoint():
    """It follows from the configuration, so it is neither stored nor loaded."""
    assert set(Pointwise(3, 3, torch.ones(3, 3)).state_dict()) == {"weight", "bias"}
