"""The residual block against its formula."""

import pytest
import torch
import torch.nn.functional as F

from pixelvae.nn.residual import Residual

pytestmark = pytest.mark.usefixtures("float64")


def test_residual_is_its_formula():
    """x + W_2 * silu(W_1 * silu(x))."""
    block, x = Residual(2), torch.randn(3, 2, 4, 5)
    hidden = F.conv2d(F.silu(x), block.first.weight, block.first.bias, padding=1)
    change = F.conv2d(F.silu(hidden), block.second.weight, block.second.bias, padding=1)
    torch.testing.assert_close(block(x), x + change)
