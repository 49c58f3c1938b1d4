"""The projection of a context against its formula."""

import pytest
import torch

from pixelvae.nn.conditioning import ContextProjection

pytestmark = pytest.mark.usefixtures("float64")


def test_projection_is_one_matrix_for_every_layer():
    """V_l^T c of a vector, and at every site of a map."""
    projection, vector, field = ContextProjection(3, [2, 5]), torch.randn(4, 3), torch.randn(4, 3, 2, 6)
    for width, matrix, of_vector, of_map in zip(
        [2, 5], projection.weight.split([2, 5]), projection(vector), projection(field), strict=True
    ):
        assert of_vector.shape == (4, width, 1, 1)
        torch.testing.assert_close(of_vector[:, :, 0, 0], vector @ matrix.T)
        torch.testing.assert_close(of_map, torch.einsum("od,bdhw->bohw", matrix, field))
