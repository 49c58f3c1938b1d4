"""What the latents are worth, measured where the answer is known."""

import pytest
import torch

from pixelvae.data import BatchKey
from pixelvae.evaluation.latents import active_units, posterior_means
from small_runs import small_data, small_model


@pytest.fixture(scope="module")
def held_out():
    return small_data().test


def test_active_units_are_those_that_move_with_x():
    means = torch.randn(10_000, 3) * torch.tensor([0.05, 0.2, 1.0])
    assert active_units(means).tolist() == [False, True, True]


def test_posterior_means_come_in_order(held_out):
    model = small_model().eval()
    means = posterior_means(model, held_out, batch_size=7, device=torch.device("cpu"))
    x, y = held_out[BatchKey(torch.tensor([299]), 0)]
    torch.testing.assert_close(means[299:], model.encoder(x, y).mean.detach())
