"""Heat maps of bits: pixels, colours and their bar."""

import numpy as np
import pytest
import torch

from pixelvae.reporting.figures import GAP, render, to_rgb
from pixelvae.reporting.heat_maps import COLOURS, heat_maps, spread_over_ranks


def test_every_picture_stands_above_its_bits():
    """Whole pixels, dark where a pixel costs nothing, the brightest colour where it costs most; the bar has units."""
    x, bits = torch.zeros(2, 1, 8, 8, dtype=torch.long), torch.zeros(2, 8, 8)
    bits[1] = 3.0
    figure = heat_maps(x, bits, levels=2, title="t", labels=["a", "b"])
    pixels = render(figure).reshape(-1, 3)
    colours = [(np.array(COLOURS(end)[:3]) * 255).round().astype(np.uint8) for end in (0.0, 1.0)]
    for colour in colours:
        assert ((pixels == colour).all(1)).sum() >= 64 * 16**2
    assert [text.get_text() for text in figure.axes[0].texts] == ["a", "b"]
    assert figure.axes[1].get_ylabel() == "bits per pixel"


def test_pixels_and_bits_are_enlarged_by_a_whole_number_the_bits_below():
    x, bits = torch.randint(0, 4, (2, 1, 8, 8)), torch.rand(2, 8, 8)
    bits[0, 0, 0], bits[1, 7, 7] = 0.0, 2.0
    figure = heat_maps(x, bits, levels=4, title="t")
    canvas, (low, high) = np.asarray(figure.axes[0].images[0].get_array()), figure.axes[1].get_ylim()
    heat = (COLOURS((bits.numpy() - low) / (high - low))[..., :3] * 255).round().astype(np.uint8)
    for i, tiles in enumerate(zip(to_rgb(x, 4), heat, strict=True)):
        for top, tile in zip((0, 128 + GAP), tiles, strict=True):
            left = i * (128 + GAP)
            assert np.array_equal(canvas[top : top + 128, left : left + 128], tile.repeat(16, 0).repeat(16, 1))


def test_colours_go_from_no_bits_to_what_one_pixel_in_200_exceeds():
    """So that a few outliers do not darken all others."""
    bits = torch.linspace(0.5, 1.5, 16 * 64)
    bits[:3] = 1e6
    figure = heat_maps(torch.zeros(16, 1, 8, 8, dtype=torch.long), bits.view(16, 8, 8), levels=2, title="t")
    assert figure.axes[1].get_ylim() == pytest.approx((0, np.quantile(bits.numpy(), 0.995)))
    assert figure.axes[1].get_ylim()[1] < 1.5


@pytest.mark.parametrize("number", [2, 5, 40, 99])
def test_examples_at_equal_distances_of_rank_rise_from_the_least_nats_to_the_most(number):
    nats = np.random.default_rng(0).permutation(np.linspace(1, 40, 40) ** 3)
    ranks = np.linspace(0, 39, min(number, 40)).round().astype(int)
    assert nats[spread_over_ranks(nats, number)].tolist() == np.sort(nats)[ranks].tolist()


def test_rows_wrap_and_colours_are_possible():
    figure = heat_maps(torch.zeros(30, 3, 8, 8, dtype=torch.long), torch.rand(30, 8, 8), levels=4, title="t")
    height, width = render(figure).shape[:2]
    assert width <= 2000
    assert height > 1000


def test_no_images_are_refused():
    with pytest.raises(ValueError, match="no images"):
        heat_maps(torch.zeros(0, 1, 8, 8, dtype=torch.long), torch.zeros(0, 8, 8), levels=2, title="t")
