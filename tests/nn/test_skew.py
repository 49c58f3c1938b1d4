"""Skewing against its definition, entry by entry."""

import pytest
import torch

from pixelvae.nn.skew import skew, unskew

sizes = pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 4), (4, 1), (3, 3), (2, 5), (5, 2)])
features = pytest.mark.parametrize("features", [(), (2,), (2, 3)], ids=str)


@sizes
@features
def test_skew_puts_pixel_i_j_into_column_i_plus_j(height, width, features):
    """And zero everywhere else."""
    x = torch.randn(2, height, width, *features)
    expected = torch.zeros(2, height, height + width - 1, *features)
    for i in range(height):
        expected[:, i, i : i + width] = x[:, i]
    assert torch.equal(skew(x), expected)


@sizes
@features
def test_unskew_undoes_it(height, width, features):
    """Whatever stands outside of the image is dropped."""
    x = torch.randn(2, height, width, *features)
    skewed = skew(x)
    outside = skew(torch.ones_like(x)) == 0
    assert torch.equal(unskew(skewed.masked_fill(outside, 7.0)), x)


def test_gradient_goes_back_where_it_came_from():
    """The Jacobian of both together is the identity."""
    jacobian = torch.autograd.functional.jacobian(lambda x: unskew(skew(x)), torch.randn(1, 3, 4))
    assert torch.equal(jacobian.view(12, 12), torch.eye(12))
