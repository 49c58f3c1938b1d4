"""What is GatedPixelCNN's alone; all else is in test_laws.py."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from families import reached_by_positive_weights
from pixelvae import DataSpec, GatedPixelCNN

GREY, RGB = DataSpec((1, 4, 4), 2), DataSpec((3, 4, 4), 2)


@pytest.mark.parametrize(
    ("spec", "options", "message"),
    [
        (GREY, {"kernel_size": 2}, "kernel_size=2"),
        (GREY, {"first_kernel_size": 4}, "first_kernel_size=4"),
        (GREY, {"first_kernel_size": 1}, "first_kernel_size=1"),
        (GREY, {"num_layers": 0}, "num_layers=0"),
        (GREY, {"num_layers": 2, "receptive_field": 5}, "receptive_field=5; .*reach 1 .. 4"),
        (GREY, {"receptive_field": 0}, "receptive_field=0"),
        (DataSpec((1, 16), 2), {}, r"\(1, 16\) is not an image"),
        (RGB, {"channels": 32, "head_channels": 66}, "multiple of 3"),
        (RGB, {"channels": 33, "head_channels": 64}, "multiple of 3"),
    ],
)
def test_names_the_argument_that_it_refuses(spec, options, message):
    """An invalid argument is a ValueError with the given value."""
    with pytest.raises(ValueError, match=message):
        GatedPixelCNN(spec, spec.channels, **options)


def test_grey_images_have_no_channels_to_order():
    """With one channel there is no mask, for every setting."""
    assert not GatedPixelCNN(GREY, 1, num_layers=1, channels=2, channel_masked=True).channel_masked


@pytest.mark.parametrize("num_layers", [1, 4])
@pytest.mark.parametrize("context_shape", [None, (1, 5), (1, 5, 4, 4)], ids=["none", "vector", "map"])
@pytest.mark.parametrize(("spec", "channels"), [(GREY, 4), (RGB, 6)])
def test_the_cost_model_is_what_the_counter_counts(spec, channels, context_shape, num_layers):
    """README's formula for the operations of a forward pass."""
    widths = {"channels": channels, "head_channels": 2 * channels, "num_layers": num_layers}
    decoder = GatedPixelCNN(spec, spec.channels, 5 if context_shape else 0, **widths)
    with FlopCounterMode(display=False) as counter:
        decoder(torch.zeros(1, *spec.shape, dtype=torch.long), torch.zeros(context_shape) if context_shape else None)
    context_map = context_shape is not None and len(context_shape) == 4
    assert counter.get_total_flops() == decoder.forward_flops(context_map=context_map)


def test_a_limit_takes_kernels_and_no_layers_away():
    """The receptive field has the given size for every depth, and is unlimited by default."""
    free = GatedPixelCNN(GREY, 1, num_layers=6, channels=2)
    limited = GatedPixelCNN(GREY, 1, num_layers=6, channels=2, receptive_field=5)
    assert (free.receptive_field, limited.receptive_field) == (8, 5)
    assert len(limited.layers) == len(free.layers)
    whole = GatedPixelCNN(GREY, 1, num_layers=6, channels=2, receptive_field=8)
    assert [p.shape for p in whole.parameters()] == [p.shape for p in free.parameters()]


@pytest.mark.parametrize("asked", range(1, 8))
@pytest.mark.parametrize(("first_kernel_size", "kernel_size"), [(7, 3), (3, 5), (5, 5)])
def test_the_window_is_the_one_asked_for(asked, first_kernel_size, kernel_size):
    """R rows above, R columns to either side, R pixels to the left, for all kernel sizes."""
    decoder = GatedPixelCNN(
        DataSpec((1, 9, 17), 2),
        num_params=1,
        num_layers=6,
        channels=2,
        kernel_size=kernel_size,
        first_kernel_size=first_kernel_size,
        receptive_field=asked,
    ).double()
    above = {(i, j) for i in range(8 - asked, 8) for j in range(8 - asked, 9 + asked)}
    left = {(8, j) for j in range(8 - asked, 8)}
    assert reached_by_positive_weights(decoder, (8, 8)) == above | left
    assert decoder.receptive_field == asked
