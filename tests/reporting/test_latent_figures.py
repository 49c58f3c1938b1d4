"""Pictures of latents have captions, and show every image at its position."""

import numpy as np
import pytest
import torch
from matplotlib.image import imread
from test_figures import canvas, levels, texts

from pixelvae.reporting.figures import GAP, render, to_rgb
from pixelvae.reporting.latent_figures import (
    MAX_NAMED,
    cloud,
    decompressions,
    neighbours,
    patch,
    save_cloud,
    traversals,
)


def tile(drawn, row, column, size, wide_gaps=0):
    """One image of a grid as it was drawn, at its own resolution."""
    top, left = row * (size + GAP), column * (size + GAP) + wide_gaps * 36
    return drawn[top : top + size, left : left + size]


def large(x, high, scale):
    return to_rgb(x[None], high)[0].repeat(scale, 0).repeat(scale, 1)


def test_a_cloud_has_every_point_in_its_class_s_colour():
    classes = torch.arange(50) % 5 + 3
    points = torch.randn(50, 2) + 20 * classes[:, None]
    figure = cloud(points, classes, title="Title", axis_labels=["one", "two"], caption="Caption")
    axes = figure.axes[0]
    drawn = axes.collections[0]
    assert torch.from_numpy(np.array(drawn.get_offsets())).float().equal(points)
    colours = drawn.get_facecolor()
    legend = axes.get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["3", "4", "5", "6", "7"]
    for name, handle in zip(range(3, 8), legend.legend_handles, strict=True):
        assert (colours[(classes == name).numpy()] == handle.get_facecolor()).all()
    assert len({tuple(colour) for colour in colours.tolist()}) == 5
    assert texts(figure) == ["Title", "Caption", "3", "4", "5", "6", "7", "one", "two"]


def test_a_cloud_shows_the_names_of_classes():
    names = ["aeroplane", "bird", "cat"]
    figure = cloud(
        torch.randn(30, 2) + 9 * torch.tensor([[0], [1]]).repeat(15, 1),
        torch.tensor([0, 2]).repeat(15),
        title="t",
        class_names=names,
    )
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["aeroplane", "cat"]
    assert {text.get_text() for text in axes.texts} == {"aeroplane", "cat"}


def test_a_name_stands_only_where_its_class_leads():
    """Two separate classes, and two mixed ones, which only the legend identifies."""
    classes = torch.arange(200) % 4
    points = torch.randn(200, 2) + torch.tensor([[9.0, 0], [-9, 0], [0, 9], [0, 9]])[classes]
    points[classes == 3] = points[classes == 2]
    points[classes == 2, 0] += torch.linspace(-4, 4, 50)
    shown = {text.get_text() for text in cloud(points, classes, title="t").axes[0].texts}
    assert shown == {"0", "1", "3"}


def test_names_of_classes_do_not_cover_one_another():
    names = ["one long name", "another long name", "a third long name"]
    points = torch.tensor([[0.0, 0.0], [0.01, 0.0], [5.0, 5.0]]).repeat_interleave(20, 0)
    points += 0.001 * torch.arange(60)[:, None]
    texts = cloud(points, torch.arange(3).repeat_interleave(20), title="t", class_names=names).axes[0].texts
    assert [text.get_visible() for text in texts] == [True, False, True]


def test_no_marker_is_cut_by_the_frame():
    points = torch.tensor([[0.0, 0.0], [1.0, 1.0]])
    assert all(not drawn.get_clip_on() for drawn in cloud(points, None, title="t").axes[0].collections)
    classes = torch.tensor([0, 1])
    assert all(not drawn.get_clip_on() for drawn in cloud(points, classes, title="t").axes[0].collections)


@pytest.mark.parametrize("classes", [None, torch.arange(100) % (MAX_NAMED + 1)])
def test_a_cloud_without_classes_or_with_many_has_no_legend(classes):
    figure = cloud(torch.randn(100, 2), classes, title="t")
    assert figure.axes[0].get_legend() is None
    assert len(figure.axes) == (1 if classes is None else 2)


@pytest.mark.parametrize(
    ("num_classes", "names"), [(3, []), (MAX_NAMED, []), (3, ["a rather long name of a class", "b", "c"])]
)
def test_nothing_that_a_cloud_says_is_cut_off(num_classes, names):
    figure = cloud(
        torch.randn(200, 2) * 1000,
        torch.arange(200) % num_classes,
        title="Title",
        class_names=names,
        axis_labels=["one", "two"],
        caption="word " * 60,
    )
    picture, axes = render(figure), figure.axes[0]
    height, width, _ = picture.shape
    said = [*figure.texts, axes.xaxis.label, axes.yaxis.label, axes.get_legend(), *axes.get_yticklabels()]
    boxes = [text.get_window_extent() for text in said]
    assert all(0 <= box.x0 < box.x1 <= width and 0 <= box.y0 < box.y1 <= height for box in boxes)
    title, caption, across = boxes[:3]
    assert not title.overlaps(axes.get_window_extent())
    assert not caption.overlaps(across)


def test_a_saved_cloud_is_the_same_every_time_and_nearly_as_drawn(tmp_path):
    figure = cloud(torch.randn(200, 2), torch.arange(200) % 10, title="t")
    for name in ("a.png", "b.png"):
        save_cloud(figure, tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    saved = np.rint(imread(tmp_path / "a.png")[..., :3] * 255)
    assert abs(saved - render(figure)).mean() < 0.5


def test_a_traversal_is_labelled_by_dimension_and_distance():
    x = levels(2, 5, 1, 8, 8)
    figure = traversals(x, [7, 2], [1.5, 0.25], levels=4, width=3.0, title="t", caption="")
    axes = figure.axes[0]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["h7: 1.50", "h2: 0.25"]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["−3.0 σ", "−1.5 σ", "mean", "+1.5 σ", "+3.0 σ"]
    assert np.array_equal(tile(canvas(figure)[0], 1, 4, 128), large(x[1, 4], 4, 16))


def test_neighbours_stand_in_groups():
    x, in_h, in_pixels = levels(2, 1, 8, 8), levels(2, 3, 1, 8, 8), levels(2, 3, 1, 8, 8)
    figure = neighbours(x, in_h, in_pixels, levels=4, title="t", caption="", labels=["a", "b"])
    drawn, _ = canvas(figure)
    assert np.array_equal(tile(drawn, 1, 0, 128), large(x[1], 4, 16))
    assert np.array_equal(tile(drawn, 1, 1, 128, 1), large(in_h[1, 0], 4, 16))
    assert np.array_equal(tile(drawn, 0, 6, 128, 2), large(in_pixels[0, 2], 4, 16))
    assert texts(figure) == ["t", "image", "nearest in h", "nearest in pixels", "class"]


def test_the_originals_stand_framed_in_the_corners():
    x, corners = levels(3, 4, 1, 8, 8), levels(4, 1, 8, 8)
    before = x.clone()
    figure = patch(x, corners, levels=4, title="t", caption="")
    drawn, _ = np.asarray(figure.axes[0].images[0].get_array()), render(figure)
    for corner, (row, column) in zip(corners, [(0, 0), (0, 3), (2, 0), (2, 3)], strict=True):
        assert np.array_equal(tile(drawn, row, column, 128), large(corner, 4, 16))
    assert np.array_equal(tile(drawn, 1, 2, 128), large(x[1, 2], 4, 16))
    frames = {frame.get_bbox().bounds for frame in figure.axes[0].patches}
    far = 3 * (128 + GAP) - 0.5, 2 * (128 + GAP) - 0.5
    assert frames == {(left, top, 128, 128) for left in (-0.5, far[0]) for top in (-0.5, far[1])}
    assert x.equal(before), "the images themselves are left alone"


def test_decompression_shows_levels_as_ever_and_their_mean_in_between():
    x, draws = levels(2, 1, 8, 8, high=2), levels(3, 2, 1, 8, 8, high=2)
    mean = torch.full((2, 1, 8, 8), 0.5)
    drawn, _ = canvas(decompressions(x, draws, mean, levels=2, title="t", caption=""))
    assert np.array_equal(tile(drawn, 1, 0, 128), large(x[1], 2, 16))
    assert np.array_equal(tile(drawn, 0, 2, 128, 1), large(draws[1, 0], 2, 16))
    assert (tile(drawn, 0, 4, 128, 2) == 128).all()
