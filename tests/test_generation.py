"""The walk and its uses, against exact probabilities of everything that can be drawn."""

from functools import partial
from itertools import product

import pytest
import torch

from families import DECODERS, by_name, random_levels
from pixelvae import DataSpec
from pixelvae.data.spec import ABSENT
from pixelvae.generation import complete, decode, generators, interpolate, reconstruct, sample, score
from pixelvae.latents import paths
from pixelvae.walk import draw, walk
from tiny import BINARY, autoregressive, every_x, labels, log_px_by_quadrature, p_value, position, vae

pytestmark = pytest.mark.usefixtures("float64", "on_device")
LABELLED = BINARY._replace(num_classes=(2, 3))
NUM_DRAWS = 4000
UNLIKELY = 1e-4
MODELS = {"vae": partial(vae, LABELLED)} | {d.name: partial(autoregressive, d, (2, 3)) for d in DECODERS}
every_model = pytest.mark.parametrize("make", **by_name(MODELS))
every_decoder = pytest.mark.parametrize("decoder", **by_name(DECODERS))


# walk and score


@every_decoder
def test_walk_scored_with_the_truth_is_log_px(decoder):
    """The code length, one site after the other, equals the log-likelihood of a forward pass."""
    model = autoregressive(decoder, num_classes=(2,))
    x = every_x(model.spec)
    y = labels([1], len(x))
    for stepper in ("auto", "full"):
        scored = score(model, x, y=y, stepper=stepper)
        torch.testing.assert_close(scored, model.log_px(x, None, y), rtol=0, atol=1e-10)


def test_score_hears_latents_and_labels():
    """log p(x | h, y) of a PixelVAE."""
    model = vae(LABELLED)
    x, h = random_levels(6, LABELLED), torch.randn(6, 1)
    y = labels([1, 2], 6)
    torch.testing.assert_close(score(model, x, h=h, y=y), model.log_px(x, h, y), rtol=0, atol=1e-10)


@every_decoder
def test_walk_visits_raster_order_and_channels_in_order(decoder):
    """Row by row, in each site R, G, B, with probabilities of every level."""
    model, visits = autoregressive(decoder), []

    def choose(site, channel, pmf):
        visits.append((site, channel))
        assert pmf.shape == (2, model.spec.levels)
        return torch.full((2,), len(visits) % model.spec.levels)

    x = walk(model.decoder, model.likelihood, None, 2, choose)
    assert visits == list(product(product(*map(range, model.spec.sites)), range(model.spec.channels)))
    assert all((x[:, c, *site] == (i + 1) % model.spec.levels).all() for i, (site, c) in enumerate(visits))


def test_walk_takes_the_stepper_it_is_told():
    """An unknown kind is an error, so a known one was not ignored."""
    model = autoregressive(DECODERS[0])
    with pytest.raises(ValueError, match="'psychic'"):
        walk(model.decoder, model.likelihood, None, 2, lambda *_: torch.zeros(2).long(), stepper="psychic")


# draw


@pytest.mark.parametrize("temperature", [0.5, 1.0, 10.0])
def test_draw_inverts_the_cumulative_distribution(temperature):
    """Over evenly spread u the frequencies are pmf^(1/temperature), normalised; an impossible level never comes."""
    pmf = torch.tensor([0.0, 0.5, 0.2, 0.0, 0.3, 0.0])
    u = (torch.arange(100_000) + 0.5) / 100_000
    tempered = pmf ** (1 / temperature) / (pmf ** (1 / temperature)).sum()
    levels = draw(pmf.expand(len(u), -1), u, temperature)
    torch.testing.assert_close(levels.bincount(minlength=6) / len(u), tempered, rtol=0, atol=2e-5)
    assert (levels.diff() >= 0).all()
    assert draw(pmf[None], torch.zeros(1), temperature).item() == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_draw_stays_among_the_levels(dtype):
    """At u = 0 the first possible level, at the last u below 1 a level still, though rounding sums the pmf to less."""
    pmf = torch.rand(1000, 256).to(dtype)
    pmf = pmf / pmf.sum(1, keepdim=True) * (1 - torch.finfo(dtype).eps)
    assert draw(pmf, torch.full((1000,), 1 - 2.0**-53)).max() == 255
    assert draw(pmf, torch.zeros(1000)).min() == 0


def test_temperature_zero_takes_the_most_probable_level():
    """Whatever u is."""
    assert draw(torch.tensor([[0.3, 0.4, 0.3], [0.2, 0.2, 0.6]]), torch.rand(2), 0).tolist() == [1, 2]


# sample


@every_decoder
def test_samples_have_the_models_frequencies(decoder):
    """Chi-square of many tiny samples against the exact p of every x."""
    model = autoregressive(decoder)
    x = every_x(model.spec)
    assert p_value(sample(model, NUM_DRAWS, seed=0), model.log_px(x, None).exp(), model.spec) > UNLIKELY


@pytest.mark.parametrize("y", [None, [1, 2]], ids=str)
def test_samples_of_a_vae_have_its_marginal_frequencies(y):
    """h from the prior, then x given h and y: p(x | y) by quadrature."""
    model = vae(LABELLED if y else BINARY)
    x = every_x(model.spec)
    drawn = sample(model, NUM_DRAWS, seed=0, y=labels(y, NUM_DRAWS))
    assert p_value(drawn, log_px_by_quadrature(model, x, labels(y, len(x))).exp(), model.spec) > UNLIKELY


@every_model
def test_sample_depends_on_its_own_seed_alone(make):
    """Sample i depends on seed + i alone, in any batch and for every global seed."""
    model = make()
    y = torch.stack([torch.arange(8) % 2, torch.arange(8) % 3], dim=1)
    batch = sample(model, 8, seed=3, y=y)
    torch.manual_seed(99)
    assert torch.equal(batch[2:4], sample(model, 2, seed=5, y=y[2:4]))
    for i in range(8):
        assert torch.equal(batch[i : i + 1], sample(model, 1, seed=3 + i, y=y[i : i + 1]))
    many = y.repeat(8, 1)
    assert not torch.equal(sample(model, 64, seed=0, y=many), sample(model, 64, seed=64, y=many))


@every_decoder
def test_temperature_zero_is_greedy(decoder):
    """Every value the most probable given those before, so no seed matters."""
    model = autoregressive(decoder)
    greedy = torch.zeros(1, *model.spec.shape, dtype=torch.long)
    for site, channel in product(product(*map(range, model.spec.sites)), range(model.spec.channels)):
        tries = greedy.repeat(model.spec.levels, *[1] * len(model.spec.shape))
        tries[:, channel, *site] = torch.arange(model.spec.levels)
        log_p = conditional(model, tries, site, channel)
        greedy[:, channel, *site] = log_p.argmax()
    for seed in (0, 1):
        assert torch.equal(sample(model, 2, seed=seed, temperature=0), greedy.expand(2, *model.spec.shape))


def conditional(model, tries, site, channel):
    """log p of each try up to and including a value, by summing p(x) over all that follows. -> (K,)."""
    x = every_x(model.spec)
    p = model.log_px(x, None).exp()
    order = list(product(product(*map(range, model.spec.sites)), range(model.spec.channels)))
    so_far = order[: order.index((site, channel)) + 1]
    agrees = [torch.stack([x[:, c, *s] == t[c, *s] for s, c in so_far]).all(0) for t in tries]
    return torch.stack([p[a].sum() for a in agrees]).log()


@every_decoder
@pytest.mark.parametrize("temperature", [0, 0.7, 1.0])
def test_every_stepper_draws_the_same_samples(decoder, temperature, monkeypatch):
    """In float32 too, where the fastest may be compiled code that draws by itself, in any number of threads."""
    model = autoregressive(decoder)
    float64, float32 = (
        ((torch.float64, kind, 1) for kind in decoder.kinds),
        ((torch.float32, "auto", n) for n in (1, 3)),
    )
    for dtype, kind, threads in [*float64, *float32]:
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        by_forward, drawn = (
            sample(model.to(dtype), 32, seed=0, temperature=temperature, stepper=k) for k in ("full", kind)
        )
        assert torch.equal(drawn, by_forward), f"{kind} in {dtype}"


def test_refuses_a_negative_temperature():
    """Less than greedy is nothing."""
    with pytest.raises(ValueError, match="temperature=-1"):
        sample(autoregressive(DECODERS[0]), 1, seed=0, temperature=-1)


# complete


@every_decoder
def test_completion_has_the_exact_conditional_frequencies(decoder):
    """Given the first half of the values, the rest follows p(x) / p(first half); the known half stays."""
    model = autoregressive(decoder)
    known = torch.zeros(model.spec.shape, dtype=torch.bool)
    known[:, *[slice(0, 1)] * len(model.spec.sites)] = True  # the first site
    x = every_x(model.spec)
    given = x[len(x) // 2]
    p = model.log_px(x, None).exp() * (x[:, known] == given[known]).all(1)
    drawn = complete(model, given.expand(NUM_DRAWS, *model.spec.shape), known, seed=0)
    assert (drawn[:, known] == given[known]).all()
    assert p_value(drawn, p, model.spec) > UNLIKELY


@every_model
def test_completion_keeps_what_is_known(make):
    """Any mask, also one for each image; all known is x itself."""
    model = make()
    x, y = random_levels(16, model.spec), labels([1, 0], 16)
    known = torch.rand(16, *model.spec.shape) < 0.5
    drawn = complete(model, x, known, seed=0, y=y)
    assert torch.equal(drawn[known], x[known])
    assert not torch.equal(drawn, x)
    assert torch.equal(complete(model, x, torch.ones(1, dtype=torch.bool), seed=0, y=y), x)
    by_forward_passes = complete(model, x, known, seed=0, y=y, stepper="full")
    assert torch.equal(by_forward_passes[known], x[known])


def test_completion_of_nothing_known_is_a_draw_of_the_decoder():
    """With the given latents, or those that the encoder finds in x."""
    model, x, unknown = vae(LABELLED, latent_dim=2), random_levels(16, LABELLED), torch.zeros(1, dtype=torch.bool)
    y, h = labels([1, 0], 16), torch.randn(16, 2)
    drawn = complete(model, x, unknown, seed=4, h=h, y=y)
    assert torch.equal(drawn, decode(model, h, y, generators(4, 16)))
    found = complete(model, x, unknown, seed=4, y=y)
    assert torch.equal(found, decode(model, model.encoder(x, y).mean, y, generators(4, 16)))


# reconstruct and interpolate

WIDE = DataSpec((1, 6, 6), 4)


def test_reconstruction_decodes_the_posterior_mean():
    """(num_draws, B, C, H, W): draws differ, their latents do not; draw d of image b has seed + d·B + b."""
    model, x = vae(WIDE, latent_dim=3), random_levels(2, WIDE)
    draws = reconstruct(model, x, seed=5, num_draws=3)
    assert draws.shape == (3, 2, *WIDE.shape)
    h = model.encoder(x).mean
    for d in range(3):
        assert torch.equal(draws[d], decode(model, h, None, generators(5 + 2 * d, 2)))
    assert not torch.equal(draws[0], draws[1])
    greedy = reconstruct(model, x, seed=5, num_draws=2, temperature=0)
    assert torch.equal(greedy[0], greedy[1])


def test_reconstruction_hears_labels():
    """Each draw of an image has that image's label."""
    model, x, y = (
        vae(LABELLED, latent_dim=2),
        random_levels(8, LABELLED),
        torch.arange(8)[:, None] % torch.tensor([2, 3]),
    )
    draws = reconstruct(model, x, seed=1, y=y, num_draws=2)
    assert torch.equal(draws[1], decode(model, model.encoder(x, y).mean, y, generators(9, 8)))


@pytest.mark.parametrize("path", [paths.linear_path, paths.spherical_path])
def test_path_goes_from_end_to_end(path):
    """(steps, B, D) with both ends; one that ends where it starts stays there."""
    start, end = torch.randn(2, 3, 4)
    points = path(start, end, 5)
    assert points.shape == (5, 3, 4)
    torch.testing.assert_close(points[0], start)
    torch.testing.assert_close(points[-1], end)
    torch.testing.assert_close(path(start, start, 5), start.expand(5, 3, 4), rtol=1e-5, atol=1e-5)
    assert path(torch.zeros(1, 4), end[:1], 5).isfinite().all()


def test_linear_path_has_equal_steps():
    """The differences of neighbours are all the same."""
    steps = paths.linear_path(*torch.randn(2, 3, 4), 5).diff(dim=0)
    torch.testing.assert_close(steps, steps[:1].expand(4, 3, 4))


def test_spherical_path_keeps_norm_and_speed():
    """Between ends of one norm: the norm stays, and so does the angle of each step."""
    start, end = 3 * torch.nn.functional.normalize(torch.randn(2, 6, 4), dim=2)
    points = paths.spherical_path(start, end, 7)
    torch.testing.assert_close(points.norm(dim=2), torch.full((7, 6), 3.0))
    angles = torch.cosine_similarity(points[1:], points[:-1], dim=2).acos()
    torch.testing.assert_close(angles, angles[:1].expand(6, 6))
    torch.testing.assert_close(angles.sum(0), torch.cosine_similarity(start, end, dim=1).acos())


@pytest.mark.parametrize("path", [paths.linear_path, paths.spherical_path])
def test_interpolation_begins_and_ends_with_its_ends(path):
    """Every step is the decoder's draw at that point of the path, with the same random numbers along a row."""
    model = vae(WIDE, latent_dim=3)
    start, end = torch.randn(2, 2, 3)
    images = interpolate(model, start, end, steps=4, seed=7, path=path)
    assert images.shape == (4, 2, *WIDE.shape)
    for image, h in zip(images, path(start, end, 4), strict=True):
        assert torch.equal(image, decode(model, h, None, generators(7, 2)))
    still = interpolate(model, start, start, steps=3, seed=7, path=paths.linear_path)
    assert torch.equal(still, still[:1].expand_as(still))


def test_interpolation_hears_labels_along_the_way():
    """(steps, B, L): each step decodes under its own labels."""
    model = vae(LABELLED, latent_dim=2)
    start, y = torch.randn(8, 2), torch.stack([labels([0, 0], 8), labels([1, 2], 8)])
    images = interpolate(model, start, start, steps=2, seed=7, y=y, path=paths.linear_path)
    for image, label in zip(images, y, strict=True):
        assert torch.equal(image, decode(model, start, label, generators(7, 8)))
    assert position(images[0], LABELLED).tolist() != position(images[1], LABELLED).tolist()


# sounds that end early


def short_sounds(model):
    """The same levels twice, those of the second ending after two samples."""
    x = random_levels(1, model.spec).repeat(2, 1, 1)
    x[1, :, 2:] = ABSENT
    return x


@pytest.mark.parametrize("decoder", **by_name([d for d in DECODERS if len(d.spec.sites) == 1]))
def test_what_is_absent_costs_nothing_and_is_drawn(decoder):
    """The walk agrees with log_px about sounds that end early, and completes them."""
    model = autoregressive(decoder)
    x = short_sounds(model)
    log_px = score(model, x)
    torch.testing.assert_close(log_px, model.log_px(x, None), rtol=0, atol=1e-10)
    assert log_px[0] < log_px[1] < 0
    completed = complete(model, x, torch.ones((), dtype=torch.bool), seed=0)
    assert torch.equal(completed[0], x[0])
    assert torch.equal(completed[1, :, :2], x[1, :, :2])
    assert (completed >= 0).all()
