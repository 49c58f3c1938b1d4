"""What makes a network a decoder: the laws of every member of the family."""

from collections import defaultdict
from itertools import product

import pytest
import torch

from families import DECODERS, by_name, random_levels, sites_of
from tiny import assert_gradient

pytestmark = pytest.mark.usefixtures("float64", "on_device")
CONTEXT_DIM = 2
every_decoder = pytest.mark.parametrize("case", **by_name(DECODERS))
every_context = pytest.mark.parametrize("kind", ["none", "vector", "map"])
some_context = pytest.mark.parametrize("kind", ["vector", "map"])
every_stepper = pytest.mark.parametrize(
    ("case", "stepper_kind"), [pytest.param(c, k, id=f"{c.name}-{k}") for c in DECODERS for k in c.kinds]
)


def random_context(kind, n, spec):
    """(n, D), (n, D, *S) or None."""
    return None if kind == "none" else torch.randn(n, CONTEXT_DIM, *(spec.sites if kind == "map" else ()))


def several(case, context=None):
    """Networks of different weights: where one has units that are never active, another has not."""
    return [case.build(context) for _ in range(8)]


def dependence(decoder, context, examples=3):
    """Which params depend on which x, by changing one x at a time. -> (C, N, C, N): x's channel and site, params' ones.

    Changed and unchanged examples stand in the same places of two equal batches, so no rounding can differ.
    """
    spec, num_sites = decoder.spec, len(sites_of(decoder.spec))
    n = spec.num_dims
    x = random_levels(examples, spec).flatten(1)[:, None].repeat(1, n, 1)  # (E, n, n)
    changed = x.clone()
    shift = torch.randint(1, spec.levels, (examples, n))
    changed.diagonal(dim1=1, dim2=2).add_(shift).remainder_(spec.levels)
    if context is not None:
        context = context[:1].expand(examples * n, *context.shape[1:])
    before, after = (decoder(a.view(-1, *spec.shape), context) for a in (x, changed))
    differs = (before != after).view(examples, spec.channels, num_sites, spec.channels, -1, num_sites)
    return differs.any(4).any(0)


def promised(decoder, field):
    """The same as dependence, as the field of every site and the order of the channels promise it."""
    sites, channels = sites_of(decoder.spec), range(decoder.spec.channels)
    seen = torch.zeros(len(channels), len(sites), len(channels), len(sites), dtype=torch.bool)
    for t, site in enumerate(sites):
        for s in (sites.index(other) for other in field(decoder, site)):
            seen[:, s, :, t] = True
        for frm, to in product(channels, channels):
            seen[frm, t, to, t] = decoder.channel_masked and frm < to
    return seen


def all_before(decoder, site):
    return sites_of(decoder.spec)[: sites_of(decoder.spec).index(site)]


@every_decoder
@every_context
def test_params_never_depend_on_their_own_value_or_later_ones(case, kind):
    """Sites come in raster order, and within a site R, G, B: exactly nothing may flow backwards."""
    context = random_context(kind, 1, case.spec)
    decoder = case.build(context)
    assert not (dependence(decoder, context) & ~promised(decoder, all_before)).any()


@every_decoder
def test_params_depend_on_exactly_the_promised_field(case):
    """No blind spot where the field is everything before; else neither more nor less than the stated window."""
    decoders = several(case)
    seen = torch.stack([dependence(decoder, None) for decoder in decoders]).any(0)
    wrong = (seen != promised(decoders[0], case.field)).nonzero().tolist()
    assert wrong == [], "[channel, site, params' channel, params' site] where dependence is not as promised"


@every_decoder
def test_decoder_says_whether_it_orders_the_channels(case):
    """channel_masked determines whether the network runs once for a site or once for every channel."""
    assert case.build().channel_masked is case.channel_masked


@every_decoder
@every_context
def test_forward_gives_params_of_every_site(case, kind):
    """(B, C, *S) -> (B, P, *S), finite, for any integer type of x."""
    context = random_context(kind, 2, case.spec)
    decoder, x = case.build(context), random_levels(2, case.spec)
    params = decoder(x, context)
    assert params.shape == (2, case.num_params, *case.spec.sites)
    assert params.isfinite().all()
    assert torch.equal(params, decoder(x.to(torch.uint8), context))


@every_decoder
def test_a_vector_reaches_every_site(case):
    """Every entry of the context changes every parameter of every site."""
    context, x = random_context("vector", 16, case.spec), random_levels(16, case.spec)
    decoder = case.build(context)
    for unit in torch.eye(CONTEXT_DIM):
        assert (decoder(x, context) != decoder(x, context + unit)).any(0).all()


@every_decoder
def test_a_map_reaches_its_own_site(case):
    """Every entry of the context, changed at one site alone, changes every parameter of that site."""
    n, spec = len(sites_of(case.spec)), case.spec
    context, x = random_context("map", 16, spec), random_levels(16, spec).repeat_interleave(n, 0)
    decoder = case.build(context)
    copies = context.flatten(2)[:, None].repeat(1, n, 1, 1)  # (16, N, D, N): the s-th is changed at site s
    for d in range(CONTEXT_DIM):
        changed = copies.clone()
        changed[:, :, d].diagonal(dim1=1, dim2=2).add_(1)
        before, after = (decoder(x, c.view(-1, CONTEXT_DIM, *spec.sites)) for c in (copies, changed))
        differs = (before != after).view(16, n, case.num_params, n)
        assert differs.any(0).diagonal(dim1=0, dim2=2).all()


@every_decoder
def test_a_constant_map_is_a_vector(case):
    """V * s with the same s everywhere is Vᵀ h."""
    vector, x = random_context("vector", 3, case.spec), random_levels(3, case.spec)
    decoder = case.build(vector)
    constant = vector.view(3, CONTEXT_DIM, *[1] * len(case.spec.sites)).expand(-1, -1, *case.spec.sites)
    torch.testing.assert_close(decoder(x, constant), decoder(x, vector), rtol=0, atol=1e-12)


@every_decoder
@every_context
def test_examples_of_a_batch_do_not_touch_each_other(case, kind):
    """An example alone gives the params that it gives in company."""
    context = random_context(kind, 4, case.spec)
    decoder, x = case.build(context), random_levels(4, case.spec)
    alone = [decoder(x[i : i + 1], None if context is None else context[i : i + 1]) for i in range(4)]
    torch.testing.assert_close(decoder(x, context), torch.cat(alone), rtol=0, atol=1e-12)


@every_decoder
def test_a_map_says_where(case):
    """The same values elsewhere on the map give other params: the map is not pooled."""
    context, x = random_context("map", 16, case.spec), random_levels(16, case.spec)
    decoder = case.build(context)
    moved = context.roll(1, dims=-1)
    assert (decoder(x, context) != decoder(x, moved)).any(1).any(0).all()


def rows_in_use(a):
    return (a.flatten(1) if a.ndim > 1 else a[:, None]).any(1)


@every_decoder
@every_context
def test_every_weight_gets_a_gradient(case, kind):
    """No row of any parameter is idle, so DDP needs no search for unused ones; masked entries get exactly none."""
    context, x = random_context(kind, 8, case.spec), random_levels(8, case.spec)
    in_use = defaultdict(list)
    for decoder in several(case, context):
        params = decoder(x, context)
        (params * torch.randn_like(params)).sum().backward()
        for name, module in decoder.named_modules():
            mask = dict(module.named_buffers(recurse=False)).get("mask")
            for part, parameter in module.named_parameters(recurse=False):
                free = torch.ones_like(parameter) if mask is None or part != "weight" else mask.expand_as(parameter)
                assert parameter.grad is not None, f"{name}.{part}"
                assert not parameter.grad[free == 0].any(), f"{name}.{part}"
                in_use[f"{name}.{part}"].append(rows_in_use(parameter.grad) == rows_in_use(free))
    idle = {name: (~torch.stack(rows).any(0)).nonzero().flatten().tolist() for name, rows in in_use.items()}
    assert {name: rows for name, rows in idle.items() if rows} == {}


@every_decoder
@some_context
def test_gradient_is_the_derivative(case, kind):
    """Nothing is detached on the way, by finite differences."""
    context, x = random_context(kind, 4, case.spec), random_levels(4, case.spec)
    decoder, weights = case.build(context), torch.randn(4, case.num_params, *case.spec.sites)

    def loss():
        return (decoder(x, context) * weights).sum()

    assert_gradient(decoder, loss)


def walk_through(stepper, x, channel_masked):
    """The (B, P) params of every site during a walk: values that are not yet drawn are zero."""
    for site in product(*map(range, x.shape[2:])):
        x_site = torch.zeros_like(x[:, :, *site])
        blocks = []
        for channel in range(x.shape[1]):
            if channel == 0 or channel_masked:
                params = stepper.params(x_site)
            blocks.append(params.chunk(x.shape[1], dim=1)[channel])
            x_site[:, channel] = x[:, channel, *site]
        stepper.push(x_site)
        yield torch.cat(blocks, dim=1).clone()


@every_stepper
@every_context
@torch.inference_mode()
def test_stepper_equals_forward(case, stepper_kind, kind):
    """One site at a time gives the conditionals that all at once gives."""
    context = random_context(kind, 3, case.spec)
    decoder, x = case.build(context), random_levels(3, case.spec)
    stepped = walk_through(decoder.stepper(context, 3, stepper_kind), x, decoder.channel_masked)
    params = torch.stack(list(stepped), dim=-1).view(3, case.num_params, *case.spec.sites)
    torch.testing.assert_close(params, decoder(x, context), rtol=0, atol=case.kinds[stepper_kind])


@every_decoder
@every_context
@torch.inference_mode()
def test_fastest_stepper_equals_forward_in_float32(case, kind, monkeypatch):
    """What people sample with: compiled code in several threads, where the decoder and the machine have it."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    context = random_context(kind, 3, case.spec)
    decoder, x = case.build(context).float(), random_levels(3, case.spec)
    context = None if context is None else context.float()
    stepped = walk_through(decoder.stepper(context, 3, "auto"), x, decoder.channel_masked)
    params = torch.stack(list(stepped), dim=-1).view(3, case.num_params, *case.spec.sites)
    torch.testing.assert_close(params, decoder(x, context), rtol=1e-4, atol=1e-5)


@every_stepper
@torch.inference_mode()
def test_steppers_hold_their_own_state(case, stepper_kind):
    """Two walks at once are two walks one after the other, and the module stays as it was."""
    contexts = [random_context("map", n, case.spec) for n in (1, 3)]
    decoder, xs = case.build(contexts[0]), [random_levels(n, case.spec) for n in (1, 3)]
    weights = {name: value.clone() for name, value in decoder.state_dict().items()}

    def walks():
        return [
            walk_through(decoder.stepper(c, len(x), stepper_kind), x, decoder.channel_masked)
            for c, x in zip(contexts, xs, strict=True)
        ]

    together = list(zip(*walks(), strict=True))
    for one, another in zip(zip(*map(list, walks()), strict=True), together, strict=True):
        assert torch.equal(one[0], another[0])
        assert torch.equal(one[1], another[1])
    assert all(torch.equal(value, weights[name]) for name, value in decoder.state_dict().items())


@every_decoder
def test_refuses_a_context_of_the_wrong_width_or_none(case):
    """What context_dim promised must come."""
    x, context = random_levels(2, case.spec), random_context("vector", 2, case.spec)
    with pytest.raises(ValueError, match="context has shape"):
        case.build()(x, context)
    with pytest.raises(ValueError, match="context has shape None"):
        case.build(context)(x)
    with pytest.raises(ValueError, match=r"context has shape \(2, 3\)"):
        case.build(context)(x, torch.cat([context, context[:, :1]], dim=1))


@every_decoder
def test_refuses_an_unknown_stepper(case):
    """A kind that the decoder does not have is an error, never a silent other kind."""
    with pytest.raises(ValueError, match="'psychic'"):
        case.build().stepper(None, 1, "psychic")
