"""The compiled engine computes the numbers of a forward pass, with bitwise equal results for every batch."""

import logging
import math
from functools import partial
from itertools import product

import pytest
import torch

from families import DECODERS, by_name, random_levels
from pixelvae import (
    AutoregressiveModel,
    Categorical,
    DataSpec,
    DiscretizedLogisticMixture,
    GatedPixelCNN,
    PixelCNN,
    VectorContext,
    WaveNet,
)
from pixelvae.sampling import engine
from pixelvae.sampling.plan import Native
from pixelvae.walk import draw, fill, walk

CONTEXT_DIM = 3
OTHER_TARGETS = {"x86-64": ("-march=x86-64-v3",)}  # vectors half as wide
OPTIONS = {  # name: channels C, levels, options of the decoder
    "grey-2": (1, 2, {}),
    "grey-4-wide": (1, 4, {"kernel_size": 5, "first_kernel_size": 7}),
    "grey-2-one_layer": (1, 2, {"num_layers": 1, "first_kernel_size": 7}),
    "grey-2-pointwise": (1, 2, {"kernel_size": 1, "channels": 5}),
    "grey-4-whole_vectors": (1, 4, {"channels": 32, "head_channels": 24, "kernel_size": 5}),
    "grey-2-window": (1, 2, {"receptive_field": 2, "num_layers": 4}),
    "rgb-2": (3, 2, {}),
    "rgb-4-wide": (3, 4, {"kernel_size": 5, "first_kernel_size": 7, "num_layers": 2}),
    "rgb-4-free": (3, 4, {"channel_masked": False, "channels": 5}),
    "grey-256": (1, 256, {}),
}
every_options = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
every_decoder = pytest.mark.parametrize("case", **by_name(DECODERS))
every_context = pytest.mark.parametrize("kind", ["none", "vector", "map"])


def lively(module):
    """Larger weights: gates reach their ends, and a draw depends on those before it."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(3)
    return module.requires_grad_(False)


def make_decoder(options, context=None):
    channels, levels, rest = options
    spec = DataSpec((channels, 4, 6), levels)
    widths = {"num_layers": 3, "channels": 6, "head_channels": 9, "first_kernel_size": 3} | rest
    num_params = channels * (1 if levels == 2 else levels)
    return lively(GatedPixelCNN(spec, num_params, 0 if context is None else CONTEXT_DIM, **widths))


def make_context(kind, n, sites, dim=CONTEXT_DIM):
    return {"none": None, "vector": torch.randn(n, dim), "map": torch.randn(n, dim, *sites)}[kind]


@pytest.mark.parametrize("batch_size", [1, 3, 17])
@every_context
@every_options
@torch.inference_mode()
def test_params_equal_forward(options, kind, batch_size):
    """Grey and RGB, every kernel, every context, batches that fill a tile and that do not."""
    context = make_context(kind, batch_size, (4, 6))
    decoder = make_decoder(options, context)
    x = random_levels(batch_size, decoder.spec)
    expected, stepper = decoder(x, context), decoder.stepper(context, batch_size, "compiled")
    for site in product(*map(range, decoder.spec.sites)):
        x_site, blocks = torch.zeros_like(x[:, :, *site]), []
        for channel in range(x.shape[1]):
            if channel == 0 or decoder.channel_masked:
                params = stepper.params(x_site)
            blocks.append(params.chunk(x.shape[1], dim=1)[channel])
            x_site[:, channel] = x[:, channel, *site]
        stepper.push(x_site)
        torch.testing.assert_close(torch.cat(blocks, 1), expected[:, :, *site], rtol=1e-5, atol=1e-5)


class TestPromise:
    """A site's params are the same bits for every batch, place, number of threads and vector width."""

    @pytest.fixture(params=OTHER_TARGETS)
    def other(self, request):
        import platform

        if platform.machine() != "x86_64":
            pytest.skip("the other build is for x86-64")
        return OTHER_TARGETS[request.param]

    @every_context
    @every_decoder
    def test_for_every_decoder(self, case, kind, other):
        spec, n = case.spec, 37
        context = make_context(kind, n, spec.sites)
        num_params = spec.channels * (1 if spec.levels == 2 else spec.levels)
        decoder = lively(case.make(spec, num_params, 0 if context is None else CONTEXT_DIM).float())
        plan, native, u = decoder.plan(), Native("softmax"), torch.rand(n, *spec.shape)
        context = decoder.plan_context(context, n)
        packed = engine.Packed(plan)
        whole = engine.run(packed, native, context, u, threads=2)
        for again in (
            engine.run(packed, native, context, u, threads=1, target=other),
            engine.run(packed, native, context, u, threads=3),
        ):
            assert torch.equal(again.x, whole.x)
            assert torch.equal(again.log_p, whole.log_p)
        for part in (slice(0, 1), slice(5, 7), slice(20, 37)):
            alone = engine.run(
                packed, native, None if context is None else context[part], u[part], threads=1, target=other
            )
            assert torch.equal(alone.log_p, whole.log_p[part])

    def test_for_every_param(self, other):
        """Not only for the params of the drawn levels."""
        decoder = make_decoder(OPTIONS["grey-4-whole_vectors"], torch.zeros(1, CONTEXT_DIM))
        x, context = random_levels(19, decoder.spec), torch.randn(19, CONTEXT_DIM)
        packed, targets = engine.Packed(decoder.plan()), (engine.NATIVE, other)
        steppers = [engine.EngineStepper(packed, context[:n], n, target) for target in targets for n in (19, 1)]
        for i, j in product(range(4), range(6)):
            all_params = [stepper.params(x[: stepper.batch_size, :, i, j]) for stepper in steppers]
            assert all(torch.equal(params, all_params[0][: len(params)]) for params in all_params)
            for stepper in steppers:
                stepper.push(x[: stepper.batch_size, :, i, j])


def model_of(decoder, likelihood, spec):
    return lively(AutoregressiveModel(spec, likelihood=likelihood, decoder=decoder, context=VectorContext))


SMALL = {"num_layers": 2, "channels": 6, "head_channels": 12}
MIXTURE = partial(DiscretizedLogisticMixture, num_components=3)
MODELS = {
    "gated_pixelcnn-2": (partial(GatedPixelCNN, first_kernel_size=3, **SMALL), Categorical, DataSpec((1, 4, 5), 2)),
    "gated_pixelcnn-rgb-5": (partial(GatedPixelCNN, **SMALL), Categorical, DataSpec((3, 4, 3), 5)),
    "gated_pixelcnn-256": (partial(GatedPixelCNN, **SMALL), Categorical, DataSpec((1, 4, 4), 256)),
    "pixelcnn-40": (partial(PixelCNN, **SMALL), Categorical, DataSpec((1, 4, 4), 40)),
    "wavenet-7": (partial(WaveNet, num_layers_per_stack=3, channels=4), Categorical, DataSpec((1, 30), 7)),
    "mixture-grey-256": (partial(GatedPixelCNN, **SMALL), MIXTURE, DataSpec((1, 4, 5), 256)),
    "mixture-rgb-16": (
        partial(GatedPixelCNN, channel_masked=False, **SMALL),
        partial(DiscretizedLogisticMixture, num_components=19),
        DataSpec((3, 3, 4), 16),
    ),
}
every_model = pytest.mark.parametrize("parts", MODELS.values(), ids=MODELS)


def likely_to_agree(one, other, u_shape):
    """Levels agree but where rounding moved a bound of the cumulative distribution across u: at most one example."""
    return (one.flatten(1) != other.flatten(1)).any(1).sum() <= max(0, len(one) // 16 - 1)


@every_model
@pytest.mark.parametrize("temperature", [0.0, 0.6, 1.0, 3.0])
def test_draws_are_the_walks(parts, temperature):
    """The engine's own probabilities choose the levels that the likelihood's pmf chooses, from the same numbers."""
    model, n = model_of(*parts), 32
    u = torch.rand(n, *model.spec.shape)
    options = {"temperature": temperature}
    compiled, eager = (
        fill(model.decoder, model.likelihood, None, u, stepper=kind, **options) for kind in ("compiled", "eager")
    )
    by_walk = walk(
        model.decoder,
        model.likelihood,
        None,
        n,
        lambda site, channel, pmf: draw(pmf, u[:, channel, *site], temperature),
        stepper="full",
    )
    assert likely_to_agree(compiled.x, by_walk, u)
    assert likely_to_agree(eager.x, by_walk, u)
    same = (compiled.x == eager.x).flatten(1).all(1)
    torch.testing.assert_close(compiled.log_p[same], eager.log_p[same], rtol=1e-3, atol=2e-4)
    assert temperature == 0 or len(compiled.x.unique()) > 1


@every_model
def test_log_p_is_the_likelihoods(parts):
    """The sum over sites is log p(x) of a forward pass; what is known stays."""
    model = model_of(*parts)
    x = random_levels(9, model.spec)
    u, known = torch.rand(x.shape), torch.rand(x.shape) < 0.5
    everything = fill(model.decoder, model.likelihood, None, u, x=x, known=torch.ones_like(known))
    assert torch.equal(everything.x, x)
    expected = model.log_px(x, None)
    torch.testing.assert_close(everything.log_p.flatten(1).sum(1), expected, rtol=1e-4, atol=1e-3)
    completed = fill(model.decoder, model.likelihood, None, u, x=x, known=known)
    assert torch.equal(completed.x[known], x[known])
    assert not torch.equal(completed.x, x)
    expected = model.log_px(completed.x, None)
    torch.testing.assert_close(completed.log_p.flatten(1).sum(1), expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("temperature", [1e-39, 1e-35])
def test_a_temperature_next_to_zero_takes_the_most_probable_level(temperature):
    """No division by what rounds to zero."""
    model = model_of(*MODELS["gated_pixelcnn-rgb-5"])
    u = torch.rand(4, *model.spec.shape)
    greedy, nearly = (fill(model.decoder, model.likelihood, None, u, temperature=t).x for t in (0.0, temperature))
    assert torch.equal(greedy, nearly)
    for kind in ("eager", "full"):
        assert torch.equal(
            fill(model.decoder, model.likelihood, None, u, temperature=temperature, stepper=kind).x, greedy
        )


def test_unlikely_levels_of_a_mixture_have_finite_log_p():
    """Far beyond all components."""
    likelihood = DiscretizedLogisticMixture(DataSpec((1, 1, 1), 256), num_components=2)
    spec = DataSpec((1, 1, 1), 256)
    decoder = lively(GatedPixelCNN(spec, likelihood.num_params, num_layers=1, channels=4))
    with torch.no_grad():
        decoder.head.weight.zero_()
        decoder.head.bias.copy_(torch.tensor([0.0, 0.0, -1.0, -0.9, -5.0, -5.0]))
    x = torch.arange(256)[:, None, None, None]
    walked = fill(decoder, likelihood, None, torch.zeros(256, 1, 1, 1), x=x, known=torch.ones_like(x, dtype=torch.bool))
    expected = likelihood.log_prob(decoder(x), x)
    assert expected.min() < -50
    torch.testing.assert_close(walked.log_p[:, 0], expected, rtol=1e-3, atol=1e-3)


class TestWeights:
    """Weights are packed once, and again after every kind of change."""

    def test_are_packed_once(self):
        decoder = make_decoder(OPTIONS["grey-2"])
        assert decoder.prepared() is decoder.prepared()

    @pytest.mark.parametrize("how", ["in_place", "data", "load", "precision"])
    def test_are_packed_again_when_they_change(self, how):
        decoder, other = make_decoder(OPTIONS["grey-2"]), make_decoder(OPTIONS["grey-2"])
        before = decoder.prepared()
        with torch.no_grad():
            if how == "in_place":
                decoder.head.bias.add_(1)
            elif how == "data":
                decoder.head.bias.data[0] += 1  # which no version counter sees
            elif how == "load":
                decoder.load_state_dict(other.state_dict())
            else:
                decoder.double()
        assert decoder.prepared() is not before

    def test_a_walk_keeps_its_own(self):
        decoder = make_decoder(OPTIONS["grey-2"])
        x = torch.zeros(1, 1, dtype=torch.long)
        for kind in ("compiled", "eager"):
            stepper = decoder.stepper(None, 1, kind)
            before = stepper.params(x)
            lively(decoder)
            assert torch.equal(stepper.params(x), before)


class TestWithoutACompiler:
    """Sampling is slower and logs one line; it is an error only if the engine was requested by name."""

    @pytest.fixture(autouse=True)
    def broken(self, monkeypatch, tmp_path):
        monkeypatch.setenv("CXX", "no-such-compiler")
        monkeypatch.setenv("PATH", str(tmp_path))
        engine.library.cache_clear()
        engine.why_not.cache_clear()
        yield
        engine.library.cache_clear()
        engine.why_not.cache_clear()

    def test_auto_is_eager(self, caplog):
        decoder = make_decoder(OPTIONS["grey-2"])
        with caplog.at_level(logging.WARNING, "pixelvae"):
            steppers = [decoder.stepper(None, 1, kind) for kind in ("auto", "eager", "auto")]
        assert len({type(stepper) for stepper in steppers}) == 1
        assert [record.getMessage() for record in caplog.records] == [
            "sampling in plain PyTorch, which is slower: no C++ compiler (c++, g++ or clang++, or what CXX names)"
        ]

    def test_compiled_says_why_not(self):
        with pytest.raises(ValueError, match=r"cannot be built: no C\+\+ compiler.*choose stepper: eager"):
            make_decoder(OPTIONS["grey-2"]).stepper(None, 1, "compiled")


def test_what_the_engine_is_not_for_is_said():
    """An explicit kind is never replaced silently; auto takes what there is."""
    decoder = make_decoder(OPTIONS["grey-2"]).double()
    with pytest.raises(ValueError, match=r"is for float32 on the CPU, .*float64.*choose stepper: eager"):
        decoder.stepper(None, 1, "compiled")
    assert type(decoder.stepper(None, 1)) is type(decoder.stepper(None, 1, "eager"))


def test_progress_is_shown(capsys):
    """The same numbers, with a bar."""
    decoder = make_decoder(OPTIONS["grey-2"])
    u = torch.rand(3, 1, 4, 6)
    silent, shown = (fill(decoder, Categorical(decoder.spec), None, u, progress=p) for p in (False, True))
    assert torch.equal(silent.x, shown.x)
    assert "walk" in capsys.readouterr().err


def test_an_empty_batch():
    """No examples are no work."""
    decoder = make_decoder(OPTIONS["grey-2"])
    assert fill(decoder, Categorical(decoder.spec), None, torch.rand(0, 1, 4, 6)).x.shape == (0, 1, 4, 6)


def test_many_examples_of_one_column():
    """More examples than columns: the engine's room to compute in is for whichever there are more of."""
    spec = DataSpec((1, 12), 4)
    decoder = lively(WaveNet(spec, 4, num_layers_per_stack=2, channels=5))
    x = random_levels(100, spec)
    everything = torch.ones_like(x, dtype=torch.bool)
    log_p = fill(decoder, Categorical(spec), None, torch.zeros(x.shape), x=x, known=everything).log_p
    assert math.isfinite(log_p.sum())
    torch.testing.assert_close(
        log_p[:, 0].sum(1), Categorical(spec).log_prob(decoder(x), x).sum(1), rtol=1e-5, atol=1e-4
    )
