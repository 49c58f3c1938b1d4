"""The cached steppers of GatedPixelCNN, eager and compiled, over its whole range of shapes.

The small laws that all decoders share are in test_laws.py.
"""

from itertools import product

import pytest
import torch

from families import random_levels
from pixelvae import AutoregressiveModel, Categorical, DataSpec, GatedPixelCNN, VectorContext
from pixelvae.generation import decode, draw, generators, uniforms, walk

CONTEXT_DIM = 3
SITES = (4, 6)
KINDS = {"eager": (torch.float64, 1e-10), "compiled": (torch.float32, 1e-5)}
OPTIONS = {  # name: channels C, levels, options of the decoder
    "grey-2": (1, 2, {}),
    "grey-4-wide": (1, 4, {"kernel_size": 5, "first_kernel_size": 7}),
    "grey-2-one_layer": (1, 2, {"num_layers": 1, "first_kernel_size": 7}),
    "grey-2-pointwise": (1, 2, {"kernel_size": 1, "channels": 5}),
    "grey-4-whole_panels": (1, 4, {"channels": 16, "head_channels": 24, "kernel_size": 5}),
    "rgb-2": (3, 2, {}),
    "rgb-4-wide": (3, 4, {"kernel_size": 5, "first_kernel_size": 7, "num_layers": 2}),
    "rgb-2-one_layer": (3, 2, {"num_layers": 1}),
    "rgb-4-free": (3, 4, {"channel_masked": False, "channels": 5}),
}
every_options = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)


@pytest.fixture
def kind(request):
    """A kind of stepper, in the precision that it is tested in."""
    if request.param == "compiled":
        pytest.importorskip("numba")
    torch.set_default_dtype(KINDS[request.param][0])
    yield request.param
    torch.set_default_dtype(torch.float32)


def lively(module):
    """Larger weights: gates reach their ends, and a draw depends on those before it."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(3)
    return module


def make_decoder(options, context=None):
    channels, levels, rest = options
    spec = DataSpec((channels, *SITES), levels)
    widths = {"num_layers": 3, "channels": 6, "head_channels": 9, "first_kernel_size": 3} | rest
    num_params = channels * (1 if levels == 2 else levels)
    return lively(GatedPixelCNN(spec, num_params, 0 if context is None else CONTEXT_DIM, **widths))


def make_model(options):
    decoder = make_decoder(options)
    model = AutoregressiveModel(decoder.spec, likelihood=Categorical, decoder=lambda *_: decoder, context=VectorContext)
    return model.requires_grad_(False)


def make_context(name, n):
    """(n, D), (n, D, H, W) or None."""
    return {"none": None, "vector": torch.randn(n, CONTEXT_DIM), "map": torch.randn(n, CONTEXT_DIM, *SITES)}[name]


def walked(stepper, x, decoder):
    """The params of every site as the walk asks for them, one site after the other: yields (site, (B, P))."""
    for site in product(*map(range, x.shape[2:])):
        x_site, blocks = torch.zeros_like(x[:, :, *site]), []
        for channel in range(x.shape[1]):
            if channel == 0 or decoder.channel_masked:
                params = stepper.params(x_site)
            blocks.append(params.chunk(x.shape[1], dim=1)[channel])
            x_site[:, channel] = x[:, channel, *site]
        stepper.push(x_site)
        yield site, torch.cat(blocks, dim=1)


@pytest.mark.parametrize("kind", KINDS, indirect=True)
@pytest.mark.parametrize("batch_size", [1, 3, 5])
@pytest.mark.parametrize("name", ["none", "vector", "map"])
@every_options
def test_params_equal_forward(options, name, batch_size, kind):
    """Grey and RGB, every kernel, every context, batches that fill a tile and that do not."""
    context = make_context(name, batch_size)
    decoder = make_decoder(options, context)
    x = random_levels(batch_size, decoder.spec)
    expected = decoder(x, context)
    for site, params in walked(decoder.stepper(context, batch_size, kind), x, decoder):
        torch.testing.assert_close(params, expected[:, :, *site], rtol=0, atol=KINDS[kind][1])


@pytest.mark.parametrize("kind", KINDS, indirect=True)
@pytest.mark.parametrize("name", ["grey-4-wide", "rgb-2"])
def test_two_walks_at_once_do_not_touch_each_other_or_the_module(name, kind):
    """State is the stepper's. The module is as it was; a stepper keeps the weights that it started with."""
    contexts = [make_context("map", n) for n in (1, 3)]
    decoder = make_decoder(OPTIONS[name], contexts[0])
    xs = [random_levels(len(context), decoder.spec) for context in contexts]
    alone = [list(walked(decoder.stepper(c, len(x), kind), x, decoder)) for c, x in zip(contexts, xs, strict=True)]
    before = {name: (list(m.__dict__), list(m.state_dict())) for name, m in decoder.named_modules()}
    steppers = [decoder.stepper(context, len(context), kind) for context in contexts]
    lively(decoder)
    walks = [walked(stepper, x, decoder) for stepper, x in zip(steppers, xs, strict=True)]
    for pair in zip(zip(*walks, strict=True), zip(*alone, strict=True), strict=True):
        for (_, together), (_, by_itself) in zip(*pair, strict=True):
            assert torch.equal(together, by_itself)
    assert {name: (list(m.__dict__), list(m.state_dict())) for name, m in decoder.named_modules()} == before


class TestDraws:
    """What the compiled stepper draws by itself is what the walk draws from the same uniform numbers."""

    pytestmark = pytest.mark.usefixtures("numba")

    @pytest.fixture
    def numba(self):
        pytest.importorskip("numba")

    @pytest.mark.parametrize("temperature", [0.0, 0.6, 1.0, 3.0])
    @pytest.mark.parametrize("options", [*OPTIONS.values(), (1, 256, {}), (3, 256, {})])
    def test_they_are_the_walks(self, options, temperature):
        model, n = make_model(options), 5
        u = uniforms(model, generators(3, n))
        drawn = decode(model, None, None, generators(3, n), temperature=temperature)
        for kind in ("compiled", "eager", "full"):
            by_walk = walk(
                model.decoder,
                model.likelihood,
                None,
                n,
                lambda site, channel, pmf: draw(pmf, u[:, channel, *site], temperature),
                stepper=kind,
            )
            assert torch.equal(drawn, by_walk), kind
        assert temperature == 0 or len(drawn.unique()) > 1

    @pytest.mark.parametrize("name", ["grey-4-wide", "rgb-4-free", "rgb-2"])
    def test_they_are_the_same_in_pieces(self, name):
        """Any number of sites at once, across the ends of rows, and after sites that were pushed."""
        model = make_model(OPTIONS[name])
        decoder, u = model.decoder, torch.rand(3, model.spec.channels, 24)
        whole = decoder.stepper(None, 3, "compiled").sample(u, 1.0)
        stepper, site = decoder.stepper(None, 3, "compiled"), slice(0, 1)
        for channel in range(model.spec.channels):
            stepper.params(whole[:, :, 0] * (torch.arange(model.spec.channels) < channel))
        stepper.push(whole[:, :, 0])
        pieces = [whole[:, :, site], *(stepper.sample(part, 1.0) for part in u[:, :, 1:].split([2, 4, 13, 4], dim=2))]
        assert torch.equal(torch.cat(pieces, dim=2), whole)

    @pytest.mark.parametrize("batch_size", [1, 2, 7])
    def test_threads_and_batches_change_nothing(self, batch_size, monkeypatch):
        """Not a bit: every sum has its own order, whoever computes it beside which others."""
        model = make_model(OPTIONS["grey-4-whole_panels"])
        alone = decode(model, None, None, generators(0, batch_size))
        monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
        assert torch.equal(decode(model, None, None, generators(0, batch_size)), alone)
        x, (many, few) = random_levels(7, model.spec), (model.decoder.stepper(None, n, "compiled") for n in (7, 2))
        walks = walked(many, x, model.decoder), walked(few, x[:2], model.decoder)
        for (_, params), (_, of_two) in zip(*walks, strict=True):
            assert torch.equal(params[:2], of_two)


def test_what_compiled_is_not_for_is_said():
    """An explicit kind is never replaced silently; auto takes what there is."""
    decoder = make_decoder(OPTIONS["grey-2"]).double()
    with pytest.raises(ValueError, match=r"is for float32 on the CPU, .*float64.*choose stepper: eager"):
        decoder.stepper(None, 1, "compiled")
    assert type(decoder.stepper(None, 1)) is type(decoder.stepper(None, 1, "eager"))


def test_without_numba_auto_is_eager(monkeypatch):
    """numba is optional."""
    monkeypatch.setattr("pixelvae.decoders.base.find_spec", lambda name: None)
    decoder = make_decoder(OPTIONS["grey-2"])
    with pytest.raises(ValueError, match="needs numba"):
        decoder.stepper(None, 1, "compiled")
    assert type(decoder.stepper(None, 1)) is type(decoder.stepper(None, 1, "eager"))
