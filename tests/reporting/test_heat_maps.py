"""Heat maps of bits: pixels, colours and their bar."""

import numpy as np
import pytest
import torch

from pixelvae.reporting.figures import render
from pixelvae.reporting.heat_maps import COLOURS, heat_maps


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


def test_rows_wrap_and_colours_are_possible():
    figure = heat_maps(torch.zeros(30, 3, 8, 8, dtype=torch.long), torch.rand(30, 8, 8), levels=4, title="t")
    height, width = render(figure).shape[:2]
    assert width <= 2000
    assert height > 1000


def test_no_images_are_refused():
    with pytest.raises(ValueError, match="no images"):
        heat_maps(torch.zeros(0, 1, 8, 8, dtype=torch.long), torch.zeros(0, 8, 8), levels=2, title="t")
