"""What files are compared with: minus the bound of all examples, and general formats of the same levels."""

import math

import pytest
import torch

from pixelvae import DataSpec
from pixelvae.compression.comparison import BATCH_SIZE, bound_bytes, other_sizes
from pixelvae.models.assembly import build
from small_runs import CONFIG

WITHOUT_LATENTS = CONFIG | {"encoder": None, "prior": None, "latent_dim": 0}
N = BATCH_SIZE + 30  # two batches, the second one smaller


@pytest.mark.parametrize("config", [CONFIG, WITHOUT_LATENTS], ids=["latents", "no latents"])
def test_the_bound_is_of_every_example_with_its_labels(config):
    model = build(config, DataSpec((1, 8, 8), 2, (10,))).freeze()
    x, y = torch.randint(0, 2, (N, 1, 8, 8)), torch.randint(0, 10, (N, 1))
    x[BATCH_SIZE:] = 0  # which cost other bits than noise does
    generator = torch.Generator().manual_seed(7)
    noise = torch.cat([model.draw_noise(size, generator) for size in (BATCH_SIZE, N - BATCH_SIZE)])
    bits = -float(model(x, y, noise=noise).elbo.sum()) / math.log(2)
    assert bound_bytes(model, x, y, seed=7) == pytest.approx(bits / 8, abs=1)


@pytest.mark.parametrize(("levels", "bits"), [(2, 1), (256, 8)])
@pytest.mark.parametrize("channels", [1, 3])
def test_general_formats_take_no_more_than_the_bits_of_noise(levels, bits, channels):
    """Noise cannot be compressed, so that each format shows how many bits it is given for a value."""
    x = torch.randint(0, levels, (50, channels, 16, 16))
    sizes = other_sizes(x, levels)
    assert list(sizes) == ["PNG", "WebP", "xz"]
    entropy = x.numel() * bits / 8
    assert entropy <= sizes["xz"] < 1.02 * entropy + 100
    if channels == 1:
        assert entropy <= sizes["PNG"] < 1.3 * entropy + 100  # fifty pictures fill 56 places of a mosaic
    assert sizes["WebP"] > 0.98 * entropy


def test_what_is_no_picture_has_no_picture_formats_and_what_is_no_byte_none():
    assert list(other_sizes(torch.zeros(5, 2, 4, 4, dtype=torch.long), 4)) == ["xz"]
    assert list(other_sizes(torch.zeros(5, 1, 40, dtype=torch.long), 4)) == ["xz"]
    assert other_sizes(torch.zeros(5, 1, 4, 4, dtype=torch.long), 257) == {}
    assert other_sizes(torch.full((5, 1, 40), -1), 4) == {}
