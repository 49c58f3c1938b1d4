"""The spec of data, and levels as numbers."""

import pytest
import torch

from pixelvae.data.spec import levels_to_signal


@pytest.mark.parametrize("levels", [2, 3, 17, 256])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_signal_is_evenly_spread_from_minus_one_to_one(levels, dtype):
    """Whatever the shape and the integer type of the levels."""
    signal = levels_to_signal(torch.arange(levels), levels, dtype)
    assert signal.dtype == dtype
    torch.testing.assert_close(signal, torch.linspace(-1, 1, levels, dtype=dtype))
    x = torch.randint(levels, (2, 3, 4), dtype=torch.uint8)
    assert torch.equal(levels_to_signal(x, levels, dtype), signal[x.long()])
