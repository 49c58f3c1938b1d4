"""Completion in rounds keeps what is known, never looks at what is hidden, and depends on the seed alone."""

import pytest
import torch

import speech
from pixelvae import DataSpec
from pixelvae.completion import complete_in_rounds, upper_rows
from pixelvae.data.spec import ABSENT
from pixelvae.generation import complete, generators
from pixelvae.models.assembly import build
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


@pytest.mark.parametrize("rounds", [1, 2])
def test_a_round_is_a_draw_of_the_posterior_and_a_completion_given_it(rounds):
    """The encoder sees 0 in the place of hidden pixels first, and afterwards what the round before has drawn."""
    x, known, vae = images(), upper_rows((1, 8, 8), 3), model()
    expected, size = x.where(known, 0), len(x)
    for i in range(rounds):
        noise = torch.cat([vae.draw_noise(1, g) for g in generators(5 + 2 * i * size, size)])
        h = vae.posterior(expected, Y).rsample(noise)
        expected = complete(vae, expected, known, h=h, y=Y, seed=5 + (2 * i + 1) * size)
    assert torch.equal(complete_in_rounds(vae, x, known, Y, rounds=rounds, seed=5), expected)


@pytest.mark.parametrize("latents", [True, False])
def test_what_is_absent_is_hidden_whatever_the_mask_says(latents):
    """A sound that ends early is completed to its full length."""
    torch.manual_seed(0)
    config = speech.config("", latents=latents, class_conditional=False)
    sounds = build(config, DataSpec((1, 40), 16)).eval().requires_grad_(False)
    x = torch.randint(0, 16, (2, 1, 40))
    x[1, :, 25:] = ABSENT
    drawn = complete_in_rounds(sounds, x, torch.ones(1, dtype=torch.bool), None, rounds=2, seed=0)
    assert torch.equal(drawn[x != ABSENT], x[x != ABSENT])
    assert drawn.min() >= 0
    ends = complete_in_rounds(sounds, x.clamp(min=0), x != ABSENT, None, rounds=2, seed=0)
    assert torch.equal(drawn, ends)


def test_a_mask_shows_the_first_rows():
    mask = upper_rows((3, 4, 2), 3)
    assert mask.shape == (3, 4, 2)
    assert mask[:, :3].all()
    assert not mask[:, 3:].any()
