"""What is PixelCNN's alone: its blind spot. All else is in test_laws.py."""

import pytest
import torch

from families import reached_by_positive_weights, sites_of
from pixelvae import DataSpec, GatedPixelCNN, PixelCNN

GREY, RGB = DataSpec((1, 4, 4), 2), DataSpec((3, 4, 4), 2)
WIDE = DataSpec((1, 8, 13), 2)
SMALL = {"channels": 2, "head_channels": 2, "num_layers": 12}


@pytest.mark.parametrize(("first_kernel_size", "kernel_size"), [(3, 3), (7, 3), (5, 5)])
def test_blind_spot_is_the_wedge_that_the_paper_draws(first_kernel_size, kernel_size):
    """However deep: d rows up, nothing further to the right than the first kernel there and d − 1 others."""
    decoder = PixelCNN(WIDE, 1, first_kernel_size=first_kernel_size, kernel_size=kernel_size, **SMALL)
    row, column = site = (7, 4)
    earlier = {other for other in sites_of(WIDE) if other < site}
    reach = {d: first_kernel_size // 2 + (d - 1) * (kernel_size // 2) for d in range(1, row + 1)}
    wedge = {(row - d, column + s) for d, right in reach.items() for s in range(right + 1, WIDE.sites[1] - column)}
    assert len(wedge) >= 4
    assert earlier - reached_by_positive_weights(decoder, site) == wedge


def test_blind_spot_covers_up_to_a_quarter():
    """With 3x3 kernels it is half of what lies above and to the right: a quarter of the potential field."""
    n = 24
    spec = DataSpec((1, n + 1, 2 * n + 1), 2)
    decoder = PixelCNN(spec, 1, channels=2, head_channels=2, num_layers=2 * n, first_kernel_size=3)
    seen = reached_by_positive_weights(decoder, (n, n))
    above = {(i, j) for i, j in sites_of(spec) if i < n}
    assert len(above - seen) == n * (n - 1) // 2
    assert len(above - seen) / len(above) == pytest.approx(1 / 4, abs=0.02)


def test_gated_pixelcnn_has_no_blind_spot_there():
    """The same picture, drawn of the two stacks."""
    decoder = GatedPixelCNN(WIDE, 1, first_kernel_size=3, **SMALL)
    assert reached_by_positive_weights(decoder, (7, 4)) == {other for other in sites_of(WIDE) if other < (7, 4)}


@pytest.mark.parametrize(
    ("spec", "options", "message"),
    [
        (GREY, {"kernel_size": 2}, "kernel_size=2"),
        (GREY, {"first_kernel_size": 4}, "first_kernel_size=4"),
        (GREY, {"first_kernel_size": 1}, "first_kernel_size=1"),
        (GREY, {"num_layers": 0}, "num_layers=0"),
        (DataSpec((1, 16), 2), {}, r"\(1, 16\) is not an image"),
        (RGB, {"channels": 32}, "multiple of 3"),
        (RGB, {"channels": 33, "head_channels": 64}, "multiple of 3"),
    ],
)
def test_names_the_argument_that_it_refuses(spec, options, message):
    """An invalid argument is a ValueError with the given value."""
    with pytest.raises(ValueError, match=message):
        PixelCNN(spec, spec.channels, **options)


def test_channels_may_be_left_to_the_likelihood():
    """Without an order any widths will do, and grey images have nothing to order."""
    assert not PixelCNN(RGB, 7, num_layers=1, channels=4, head_channels=5, channel_masked=False).channel_masked
    assert not PixelCNN(GREY, 1, num_layers=1, channels=2).channel_masked


def test_weights_stay_what_the_optimizer_made_them():
    """The mask multiplies in the forward pass; nothing writes into a weight."""
    decoder = PixelCNN(GREY, 1, num_layers=1, channels=2, first_kernel_size=3)
    with torch.no_grad():
        decoder.first.weight.fill_(1.0)
    decoder(torch.zeros(1, 1, 4, 4, dtype=torch.long)).sum().backward()
    assert (decoder.first.weight == 1).all()
    assert not decoder.first.weight.grad[:, :, -1, 1:].any()
