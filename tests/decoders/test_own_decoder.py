"""Adding a decoder is one class with its network and its plan: it trains, samples, completes and scores at once."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pixelvae import AutoregressiveModel, Categorical, DataSpec, VectorContext
from pixelvae.decoders.base import AutoregressiveDecoder
from pixelvae.nn.causal import CausalConv2d, shift_right
from pixelvae.sampling.plan import Draft, Source, taps
from pixelvae.walk import fill

SPEC = DataSpec((1, 5, 6), levels=3)


class LeftOnly(AutoregressiveDecoder):
    """A decoder that looks at the pixels to the left, through one hidden layer."""

    def __init__(self, spec, num_params, context_dim=0, *, channels=8):
        super().__init__(spec, num_params, context_dim)
        self.conv = CausalConv2d(spec.channels, channels, 1, 3)
        self.head = nn.Conv2d(channels, num_params, 1)

    def forward(self, x, context=None):
        """(B, 1, H, W) -> (B, P, H, W)."""
        self.check_context(context)
        return self.head(F.silu(self.conv(shift_right(self.signal(x)))))


class Planned(LeftOnly):
    """The same with its plan."""

    def plan(self):
        """Two products a pixel."""
        draft = Draft(self.spec.shape, self.signal(torch.arange(self.spec.levels))[:, None])
        hidden = draft.site(taps(draft.x.at(dx=-1), self.conv.weight), bias=self.conv.bias, act="silu")
        weight = self.head.weight[:, :, 0, 0].mT
        return draft.finish(draft.site([Source(hidden, weight)], bias=self.head.bias), self.num_params)


def model_of(decoder):
    torch.manual_seed(0)
    model = AutoregressiveModel(SPEC, likelihood=Categorical, decoder=decoder, context=VectorContext)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)
    return model.requires_grad_(False)


def test_a_decoder_without_a_plan_samples_on_the_day_it_is_written():
    """By whole forward passes; the fast kinds are refused by name."""
    model = model_of(LeftOnly)
    assert model.sample(4, seed=0).shape == (4, *SPEC.shape)
    with pytest.raises(ValueError, match="LeftOnly has no plan"):
        model.sample(4, seed=0, stepper="compiled")


@pytest.mark.parametrize("stepper", ["compiled", "eager", "full"])
def test_its_plan_is_all_that_the_executors_need(stepper):
    """The same draws, completions and scores by every executor."""
    model, by_forward = model_of(Planned), model_of(LeftOnly)
    x = by_forward.sample(16, seed=3)
    assert torch.equal(model.sample(16, seed=3, stepper=stepper), x)
    known = torch.rand(x.shape) < 0.5
    completed = model.complete(x, known, seed=1, stepper=stepper)
    assert torch.equal(completed, by_forward.complete(x, known, seed=1))
    torch.testing.assert_close(model.score(x, stepper=stepper), by_forward.log_px(x, None), rtol=1e-5, atol=1e-4)


def test_a_plan_that_is_wrong_is_seen():
    """The oracle can disagree: a tap too far to the left gives other levels."""

    class Wrong(Planned):
        def plan(self):
            draft = Draft(self.spec.shape, self.signal(torch.arange(self.spec.levels))[:, None])
            hidden = draft.site(taps(draft.x.at(dx=-2), self.conv.weight), bias=self.conv.bias, act="silu")
            head = Source(hidden, self.head.weight[:, :, 0, 0].mT)
            return draft.finish(draft.site([head], bias=self.head.bias), self.num_params)

    model, x = model_of(Wrong), torch.randint(3, (4, *SPEC.shape))
    u, known = torch.rand(x.shape), torch.ones_like(x, dtype=torch.bool)
    log_p = {
        kind: fill(model.decoder, model.likelihood, None, u, x=x, known=known, stepper=kind).log_p
        for kind in ("compiled", "full")
    }
    assert not torch.allclose(log_p["compiled"], log_p["full"], atol=1e-2)
