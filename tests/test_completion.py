"""Completion in rounds keeps what is known, never looks at what is hidden, and depends on the seed alone."""

import pytest
import torch

from pixelvae.completion import complete_in_rounds, upper_rows
from pixelvae.generation import complete
from small_runs import CONFIG, small_model

WITHOUT_LATENTS = CONFIG | {"encoder": None, "prior": None, "latent_dim": 0}
Y = torch.tensor([[3], [7]])


def model(config=CONFIG):
    """Large random weights: latents and labels change what is drawn."""
    model = small_model(config).eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.mul_(3)
    return model


def images():
    return torch.randint(0, 2, (2, 1, 8, 8), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("config", [CONFIG, WITHOUT_LATENTS], ids=["latents", "no latents"])
def test_hidden_pixels_are_drawn_without_being_looked_at(config):
    x, known = images(), upper_rows((1, 8, 8), 3)
    drawn = complete_in_rounds(model(config), x, known, Y, rounds=2, seed=0)
    assert torch.equal(drawn[:, :, :3], x[:, :, :3])
    assert not torch.equal(drawn[:, :, 3:], x[:, :, 3:])
    again = complete_in_rounds(model(config), x.where(known, 1 - x), known, Y, rounds=2, seed=0)
    assert torch.equal(drawn, again)
    other = complete_in_rounds(model(config), x, known, Y, rounds=2, seed=100)
    assert not torch.equal(drawn, other)


def test_without_latents_a_round_is_one_completion():
    x, known, plain = images(), upper_rows((1, 8, 8), 4), model(WITHOUT_LATENTS)
    drawn = complete_in_rounds(plain, x, known, Y, rounds=1, seed=5)
    assert torch.equal(drawn, complete(plain, x, known, y=Y, seed=5 + len(x)))


def test_a_mask_shows_the_first_rows():
    mask = upper_rows((3, 4, 2), 3)
    assert mask.shape == (3, 4, 2)
    assert mask[:, :3].all()
    assert not mask[:, 3:].any()
