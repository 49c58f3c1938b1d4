"""Pictures show unmodified pixels, have titles and captions, and are written atomically."""

import json

import numpy as np
import pytest
import torch
from safetensors import safe_open

from pixelvae.reporting.figures import (
    GAP,
    HIDDEN,
    HIDDEN_COLOUR,
    WIDE_GAP,
    Group,
    completions,
    image_grid,
    interpolations,
    reconstructions,
    render,
    samples,
    save_figure,
    save_picture,
    to_rgb,
)


def levels(*shape, high=4):
    return torch.randint(0, high, shape)


def texts(figure):
    """All text of the figure."""
    labels = [t.get_text() for axes in figure.axes for t in [*axes.texts, axes.xaxis.label, axes.yaxis.label]]
    return [text for text in [*(t.get_text() for t in figure.texts), *labels] if text]


def canvas(figure):
    """The grid as it was drawn, and as it appears in the rendered picture."""
    axes = figure.axes[0]
    picture, box = render(figure), axes.get_window_extent()
    left, right = round(box.x0), round(box.x1)
    top, bottom = round(picture.shape[0] - box.y1), round(picture.shape[0] - box.y0)
    return np.asarray(axes.images[0].get_array()), picture[top:bottom, left:right]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(8, 8), (28, 28), (5, 11), (64, 64)])
def test_every_pixel_is_drawn_exactly(channels, size):
    """Neither resampled nor blended: the picture's pixels are the grid's, and the grid's are the images'."""
    x = levels(6, channels, *size)
    figure = image_grid(
        [x[:4], x[4:]], levels=4, title="t", row_labels=["a", "b"], groups=[Group("c", 1), Group("d", 3)]
    )
    drawn, seen = canvas(figure)
    assert np.array_equal(drawn, seen)
    scale = (drawn.shape[0] - 8) // (2 * size[0])
    corner = drawn[: size[0] * scale, : size[1] * scale]
    assert np.array_equal(corner, to_rgb(x[:1], 4)[0].repeat(scale, 0).repeat(scale, 1))
    assert (drawn[-size[0] * scale :, -size[1] * scale :] == 255).all(), "the second row is shorter"


def test_levels_spread_from_black_to_white():
    assert to_rgb(torch.arange(2).view(2, 1, 1, 1), 2)[:, 0, 0].tolist() == [[0, 0, 0], [255, 255, 255]]
    assert to_rgb(torch.tensor([7, 0, 2]).view(1, 3, 1, 1), 8)[0, 0, 0].tolist() == [255, 0, 73]


def test_a_grid_is_labelled():
    figure = image_grid(
        [levels(3, 1, 8, 8)] * 2,
        levels=4,
        title="Title",
        caption="Caption",
        row_heading="class",
        row_labels=["zero", "one"],
        column_labels=["x", "y", "z"],
        groups=[Group("left", 1), Group("right", 2)],
    )
    axes = figure.axes[0]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["zero", "one"]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["x", "y", "z"]
    assert texts(figure) == ["Title", "Caption", "left", "right", "class"]


def test_nothing_that_is_said_is_cut_off():
    """All texts lie inside the picture, apart from each other."""
    x, draws = levels(3, 1, 28, 28), levels(4, 3, 1, 28, 28)
    figure = completions(
        x, torch.ones(28, 28, dtype=torch.bool), draws, levels=4, title="Title", caption="word " * 60, labels=["0"] * 3
    )
    render(figure)
    boxes = [text.get_window_extent() for text in [*figure.texts, *figure.axes[0].texts]]
    width, height = figure.get_size_inches() * figure.dpi
    assert all(0 <= box.x0 < box.x1 <= width and 0 <= box.y0 < box.y1 <= height for box in boxes)
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    assert width <= 1800


def test_samples_have_a_row_for_each_class():
    figure = samples(levels(6, 1, 8, 8), levels=4, columns=3, title="Samples", labels=["0", "1"])
    assert [tick.get_text() for tick in figure.axes[0].get_yticklabels()] == ["0", "1"]


def test_reconstructions_stand_apart_from_their_originals():
    x, draws = levels(2, 1, 8, 8), levels(3, 2, 1, 8, 8)
    drawn, _ = canvas(reconstructions(x, draws, levels=4, title="Reconstructions"))
    columns = np.flatnonzero((drawn[:1] == 255).all((0, 2)))  # white in the first line of pixels, gaps among it
    assert np.array_equal(drawn[:128, :128], to_rgb(x[:1], 4)[0].repeat(16, 0).repeat(16, 1))
    assert set(range(128, 172)) <= set(columns), "a wide gap behind the original"
    assert np.array_equal(drawn[-128:, -128:], to_rgb(draws[-1, -1:], 4)[0].repeat(16, 0).repeat(16, 1))


@pytest.mark.parametrize(
    ("label_switches", "headings"),
    [
        (False, ["from h on the left to h on the right"]),
        (True, ["with the left image's label", "with the right image's label"]),
    ],
)
def test_interpolations_stand_between_their_originals(label_switches, headings):
    start, steps, end = levels(2, 1, 8, 8), levels(5, 2, 1, 8, 8), levels(2, 1, 8, 8)
    rows = ["0 → 1", "1 → 2"]
    figure = interpolations(start, steps, end, levels=4, title="t", row_labels=rows, label_switches=label_switches)
    drawn, _ = canvas(figure)
    assert np.array_equal(drawn[:128, :128], to_rgb(start[:1], 4)[0].repeat(16, 0).repeat(16, 1))
    assert np.array_equal(drawn[:128, -128:], to_rgb(end[:1], 4)[0].repeat(16, 0).repeat(16, 1))
    assert texts(figure)[1:] == ["original", *headings, "original", "class"]


@pytest.mark.parametrize("num_steps", [4, 5])
def test_every_step_stands_in_its_place_under_the_label_of_the_nearer_end(num_steps):
    """The middle one of an odd number has the label of the left end, as the labels switch half-way."""
    start, steps, end = levels(1, 1, 8, 8), levels(num_steps, 1, 1, 8, 8), levels(1, 1, 8, 8)
    drawn, _ = canvas(interpolations(start, steps, end, levels=4, title="t", label_switches=True))
    left = 128 + WIDE_GAP
    for i, step in enumerate(steps):
        assert np.array_equal(drawn[:, left : left + 128], to_rgb(step, 4)[0].repeat(16, 0).repeat(16, 1)), i
        left += 128 + (WIDE_GAP if i + 1 in ((num_steps + 1) // 2, num_steps) else GAP)
    assert left + 128 == drawn.shape[1]


def test_completions_paint_what_was_hidden():
    x, draws = levels(1, 1, 8, 8), levels(2, 1, 1, 8, 8)
    known = (torch.arange(8) < 4)[:, None].expand(8, 8)
    drawn, _ = canvas(completions(x, known, draws, levels=4, title="Completions"))
    shown = drawn[:, 172:300]
    assert np.array_equal(shown[:64], drawn[:64, :128])
    assert {tuple(pixel) for pixel in shown[64:].reshape(-1, 3).tolist()} == {HIDDEN_COLOUR, (255, 255, 255)}, "stripes"
    assert (x != HIDDEN).all(), "the images themselves are left alone"


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((2, 2, 8, 8), {}, "C = 1"),
        ((2, 1, 8, 8), {"row_labels": ["a", "b"]}, "2 row_labels for 1 rows"),
        ((2, 1, 8, 8), {"column_labels": ["a"]}, "1 column_labels for 2 columns"),
        ((2, 1, 8, 8), {"groups": [Group("a", 1)]}, "do not add up to the 2 columns"),
    ],
)
def test_what_does_not_fit_is_refused(shape, options, message):
    with pytest.raises(ValueError, match=message):
        image_grid([levels(*shape)], levels=4, title="t", **options)


def test_a_saved_figure_is_whole_and_repeatable(tmp_path):
    for name in ("a.png", "b.png"):
        torch.manual_seed(0)
        save_figure(samples(levels(4, 1, 8, 8), levels=4, title="t"), tmp_path / "new" / name)
    first, second = ((tmp_path / "new" / name).read_bytes() for name in ("a.png", "b.png"))
    assert first == second
    assert first.startswith(b"\x89PNG")
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["a.png", "b.png"]


def test_tensors_and_settings_lie_beside_the_picture(tmp_path):
    x = levels(4, 1, 8, 8).to(torch.uint8)
    save_picture(
        tmp_path / "p.png", samples(x, levels=4, title="t"), {"x": x.transpose(2, 3)}, {"seed": 3, "out": tmp_path}
    )
    with safe_open(tmp_path / "p.safetensors", framework="pt") as file:
        assert file.get_tensor("x").equal(x.transpose(2, 3))
        assert json.loads(file.metadata()["settings"]) == {"seed": 3, "out": str(tmp_path)}
