"""What is the PixelRNNs' alone: their fields. All else is in test_laws.py, the recurrences are in tests/nn."""

from itertools import product

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from families import DECODERS, RESIDUAL, by_name, random_levels, reached_by_positive_weights, sites_of
from pixelvae import DataSpec, DiagonalBiLSTM, RowLSTM

GREY, RGB = DataSpec((1, 4, 4), 2), DataSpec((3, 4, 4), 2)
WIDE = DataSpec((1, 7, 15), 2)
SMALL = {"channels": 2, "head_channels": 2}


@pytest.mark.parametrize(("num_layers", "kernel_size", "first_kernel_size"), [(1, 3, 3), (3, 3, 3), (1, 5, 5)])
def test_row_lstm_sees_a_triangle_up_to_the_first_row(num_layers, kernel_size, first_kernel_size):
    """d rows up, it sees d steps of the state further to either side, and to the left one more in each layer."""
    options = {"kernel_size": kernel_size, "first_kernel_size": first_kernel_size}
    decoder = RowLSTM(WIDE, 1, num_layers=num_layers, **options, **SMALL)
    step, first = kernel_size // 2, first_kernel_size // 2
    row, column = site = (6, 9)
    triangle = {
        (row - d, column + s)
        for d, s in product(range(row + 1), range(-column, WIDE.sites[1] - column))
        if -(first + (d + num_layers) * step) <= s <= (first + (d - 1) * step if d else -1)
    }
    assert {other for other in sites_of(WIDE) if other < site} - triangle
    assert reached_by_positive_weights(decoder, site) == triangle


@pytest.mark.parametrize("num_layers", [1, 2])
def test_diagonal_bilstm_sees_the_whole_past(num_layers):
    """Up to the last pixel of the row above, on which no features of that row depend."""
    decoder = DiagonalBiLSTM(WIDE, 1, num_layers=num_layers, first_kernel_size=3, **SMALL)
    for site in [(6, 0), (6, 9), (1, 0)]:
        assert reached_by_positive_weights(decoder, site) == {other for other in sites_of(WIDE) if other < site}


@pytest.mark.parametrize("case", **by_name([case for case in DECODERS if case.name in RESIDUAL]))
def test_a_whole_walk_takes_no_more_arithmetic_than_one_forward_pass(case):
    """Nothing is computed twice: counted, not timed. Each channel of a site is one more pass."""
    decoder, x = case.build(), random_levels(2, case.spec)
    passes = case.spec.channels if decoder.channel_masked else 1
    with FlopCounterMode(display=False) as full:
        decoder(x)
    with FlopCounterMode(display=False) as walked, torch.no_grad():
        stepper = decoder.stepper(None, 2, "eager")
        for site in product(*map(range, case.spec.sites)):
            for _ in range(passes):
                stepper.params(x[:, :, *site])
            stepper.push(x[:, :, *site])
    assert 0 < walked.get_total_flops() <= passes * full.get_total_flops()


@pytest.mark.parametrize("make", [RowLSTM, DiagonalBiLSTM])
@pytest.mark.parametrize(
    ("spec", "options", "message"),
    [
        (GREY, {"first_kernel_size": 4}, "first_kernel_size=4"),
        (GREY, {"num_layers": 0}, "num_layers=0"),
        (DataSpec((1, 16), 2), {}, r"\(1, 16\) is not an image"),
        (RGB, {"channels": 32}, "multiple of 3"),
        (RGB, {"channels": 33, "head_channels": 64}, "multiple of 3"),
    ],
)
def test_names_the_argument_that_it_refuses(make, spec, options, message):
    """An invalid argument is a ValueError with the given value."""
    with pytest.raises(ValueError, match=message):
        make(spec, spec.channels, **options)


def test_row_lstm_refuses_an_even_kernel():
    """It has no middle."""
    with pytest.raises(ValueError, match="kernel_size=2"):
        RowLSTM(GREY, 1, kernel_size=2)
