"""Masked convolutions and the block made of them, against the formulas of their docstrings."""

import pytest
import torch
import torch.nn.functional as F

from pixelvae.nn.causal import channel_mask
from pixelvae.nn.masked import MaskedBlock, MaskedConv2d, order

pytestmark = pytest.mark.usefixtures("float64")


@pytest.mark.parametrize("kernel_size", [1, 3, 5])
@pytest.mark.parametrize("strict", [True, False], ids=["A", "B"])
@pytest.mark.parametrize("groups", [1, 3])
def test_masked_convolution_is_the_papers(kernel_size, strict, groups):
    """A k x k kernel with zeros below the current row, and to the right of the current pixel in it."""
    current = channel_mask(6, 3, groups, strict=strict)
    layer, x = MaskedConv2d(3, 6, kernel_size, current), torch.randn(2, 3, 6, 7)
    half = kernel_size // 2
    mask = torch.ones(6, 3, kernel_size, kernel_size)
    mask[:, :, half + 1 :] = 0
    mask[:, :, half, half + 1 :] = 0
    mask[:, :, half, half] = current
    full = torch.randn(6, 3, kernel_size, kernel_size)
    full[:, :, : half + 1] = layer.weight.detach()
    torch.testing.assert_close(layer(x), F.conv2d(x, full * mask, layer.bias, padding=half))


def test_masks_a_and_b_of_grey_images():
    """A hides the pixel itself from the first layer; B shows later layers their own features."""
    assert not channel_mask(4, 2, 1, strict=True).any()
    assert channel_mask(4, 2, 1, strict=False).all()


def test_masked_entries_get_no_gradient():
    """And all others do."""
    layer = MaskedConv2d(3, 6, 3, channel_mask(6, 3, 3, strict=True))
    layer(torch.randn(2, 3, 4, 5)).square().sum().backward()
    assert torch.equal(layer.weight.grad != 0, layer.mask != 0)


def test_block_is_its_formula():
    """x + W3 r(W2 * r(W1 r(x)) + c)."""
    block, x, context = MaskedBlock(2, 3, 1), torch.randn(2, 4, 4, 5), torch.randn(2, 2, 4, 5)
    reduced = F.relu(F.conv2d(F.relu(x), block.reduce.weight, block.reduce.bias))
    weight = torch.cat([block.conv.weight, torch.zeros(2, 2, 1, 3)], dim=2)
    weight[:, :, 1, 2] = 0
    inner = F.relu(F.conv2d(reduced, weight, block.conv.bias, padding=1) + context)
    torch.testing.assert_close(block(x, context), x + F.conv2d(inner, block.expand.weight, block.expand.bias))


def test_order_repeats_mask_b_for_every_gate():
    """Where there is one group, there is nothing to mask."""
    assert order(4, 2, 1) is None
    mask_b = channel_mask(3, 6, 3, strict=False)
    assert torch.equal(order(3, 6, 3, gates=2), torch.cat([mask_b, mask_b]))
