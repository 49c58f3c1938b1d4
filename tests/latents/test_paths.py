"""Ways through the latent space pass where they should."""

import pytest
import torch

from pixelvae.latents.paths import linear_path, path_grid, spherical_path, switch_half_way, traverse


@pytest.mark.parametrize("path", [linear_path, spherical_path])
@pytest.mark.usefixtures("float64")
def test_a_grid_has_its_corners_and_paths_for_its_sides(path):
    corners = torch.randn(4, 6)
    grid = path_grid(corners, rows=3, columns=5, path=path)
    assert grid.shape == (3, 5, 6)
    torch.testing.assert_close(grid[[0, 0, -1, -1], [0, -1, 0, -1]], corners)
    torch.testing.assert_close(grid[0], path(corners[:1], corners[1:2], 5)[:, 0])
    torch.testing.assert_close(grid[-1], path(corners[2:3], corners[3:], 5)[:, 0])
    torch.testing.assert_close(grid[:, 0], path(corners[:1], corners[2:3], 3)[:, 0])
    torch.testing.assert_close(grid[1], path(grid[1, :1], grid[1, -1:], 5)[:, 0])


@pytest.mark.usefixtures("float64")
def test_a_linear_grid_is_bilinear():
    a, b, c, d = corners = torch.randn(4, 6)
    grid = path_grid(corners, rows=5, columns=3, path=linear_path)
    torch.testing.assert_close(grid[1, 1], 0.75 * (a + b) / 2 + 0.25 * (c + d) / 2)


@pytest.mark.parametrize("steps", [3, 7, 11])
def test_a_traversal_moves_one_dimension_around_h(steps):
    h, scale, dims = torch.randn(6), torch.rand(6) + 0.5, torch.tensor([4, 0])
    moved = traverse(h, dims, scale, steps)
    assert moved.shape == (2, steps, 6)
    assert moved[:, steps // 2].equal(h.expand(2, -1)), "the middle is h itself, to the last digit"
    for row, dim in zip(moved, dims, strict=True):
        others = torch.arange(6) != dim
        assert row[:, others].equal(h[others].expand(steps, -1))
        torch.testing.assert_close(row[:, dim], h[dim] + scale[dim] * torch.linspace(-3, 3, steps))


@pytest.mark.parametrize("steps", [1, 4])
def test_a_traversal_without_a_middle_is_refused(steps):
    with pytest.raises(ValueError, match=f"steps={steps}; wanted an odd number"):
        traverse(torch.zeros(2), torch.tensor([0]), torch.ones(2), steps)


@pytest.mark.parametrize("steps", [2, 5, 8])
def test_labels_switch_once_half_way(steps):
    start, end = torch.tensor([[0, 1], [2, 3]]), torch.tensor([[4, 5], [6, 7]])
    y = switch_half_way(start, end, steps)
    first = (steps + 1) // 2
    assert y.shape == (steps, 2, 2)
    assert (y[:first] == start).all()
    assert (y[first:] == end).all()


def test_a_grid_of_labels_has_those_of_the_nearest_corner():
    y = path_grid(torch.arange(4)[:, None], 5, 4, switch_half_way)[..., 0]
    assert y.tolist() == [[0, 0, 1, 1]] * 3 + [[2, 2, 3, 3]] * 2
