"""What is WaveNet's alone; all else is in test_laws.py."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from families import DECODERS, by_name, random_levels
from pixelvae import AutoregressiveModel, Categorical, DataSpec, VectorContext, WaveNet
from pixelvae.decoders.wavenet import sinusoids
from pixelvae.generation import decode, generators

SOUND = DataSpec((1, 20), 4)
CASES = [case for case in DECODERS if case.name.startswith("wavenet")]
every_context = pytest.mark.parametrize("kind", ["none", "vector", "map"])
CONTEXT_DIM = 2


def random_context(kind, n, spec):
    return None if kind == "none" else torch.randn(n, CONTEXT_DIM, *(spec.sites if kind == "map" else ()))


@pytest.mark.parametrize(
    ("options", "dilations", "receptive_field"),
    [
        ({"num_stacks": 1}, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512], 1024),  # as the paper counts, section 2.1
        ({"num_stacks": 2}, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512] * 2, 2047),
        ({"num_stacks": 3, "num_layers_per_stack": 2}, [1, 2] * 3, 10),
    ],
)
def test_dilations_double_up_to_a_limit_and_are_repeated(options, dilations, receptive_field):
    decoder = WaveNet(SOUND, 4, channels=2, head_channels=2, **options)
    assert [layer.dilation for layer in decoder.layers] == dilations
    assert decoder.receptive_field == receptive_field


@pytest.mark.usefixtures("float64")
@every_context
def test_it_is_the_network_of_the_paper(kind):
    """Equation 2 or 3 in every layer, figure 4 around it, with dilated convolutions and a sum of skip connections."""
    context, x = random_context(kind, 3, SOUND), random_levels(3, SOUND)
    decoder = WaveNet(SOUND, 5, 0 if context is None else 2, num_layers_per_stack=3, channels=6, head_channels=4)
    p, L = 6, 6
    one_hot = F.one_hot(x[:, 0], 4).mT.double()  # (B, K, T)
    h = F.pad(F.conv1d(one_hot, decoder.embedding.weight.mT[:, :, None]), (1, 0))[..., :-1]
    skips = decoder.skips.bias[:, None]
    for i, layer in enumerate(decoder.layers):
        taps = layer.taps.weight[:, :, 0].unflatten(1, (2, p)).mT  # (2p, p, 2)
        a = F.conv1d(F.pad(h, (layer.dilation, 0)), taps, layer.taps.bias, dilation=layer.dilation)
        if context is not None:
            weight = decoder.context_projection.weight.unflatten(0, (L, 2 * p))[i]
            a = a + torch.einsum("od,bd...->bo...", weight, context).view(3, 2 * p, -1)
        y = torch.tanh(a[:, :p]) * torch.sigmoid(a[:, p:])
        skips = skips + F.conv1d(y, decoder.skips.weight.unflatten(1, (L, p))[:, i])
        h = h if layer.out is None else h + F.conv1d(y, layer.out.weight)
    expected = decoder.head(F.silu(decoder.hidden(F.silu(skips))))
    torch.testing.assert_close(decoder(x, context), expected, rtol=0, atol=1e-12)


def test_near_levels_start_alike():
    """The nearer two levels, the nearer their features; no two are the same."""
    features = sinusoids(256, 32)
    distance = torch.cdist(features, features)
    assert features.shape == (256, 32)
    assert distance[0, 1:9].diff().min() > 0
    assert distance[torch.arange(255), torch.arange(1, 256)].min() > 0.2
    assert distance[100, 101] < 0.3 * distance[100, 140]
    assert sinusoids(5, 3).shape == (5, 3)


@torch.inference_mode()
def test_an_eager_walk_remembers_as_many_places_as_the_receptive_field_whatever_the_length():
    """One ring for each layer, of as many places as its dilation says."""
    for length in (10, 1000):
        decoder = WaveNet(DataSpec((1, length), 4), 4, num_layers_per_stack=4, channels=2)
        stepper = decoder.stepper(None, 3, "eager")
        memory = {turn.both.data_ptr() for ring in stepper.rings for turn in ring}
        assert len(memory) == sum(layer.dilation for layer in decoder.layers) == decoder.receptive_field - 1


@pytest.mark.parametrize(
    ("spec", "options", "message"),
    [
        (DataSpec((1, 4, 4), 2), {}, r"\(1, 4, 4\) is not a sound"),
        (DataSpec((2, 16), 2), {}, r"\(2, 16\) is not a sound of one channel"),
        (SOUND, {"num_stacks": 0}, "num_stacks=0"),
        (SOUND, {"num_layers_per_stack": 0}, "num_layers_per_stack=0"),
        (SOUND, {"channels": 0}, "channels=0"),
        (SOUND, {"head_channels": 0}, "head_channels=0"),
    ],
)
def test_names_the_argument_that_it_refuses(spec, options, message):
    """A user's mistake is a ValueError that says what it got."""
    with pytest.raises(ValueError, match=message):
        WaveNet(spec, 4, **options)


class TestCompiled:
    @pytest.mark.parametrize("case", **by_name(CASES))
    @pytest.mark.parametrize("batch_size", [1, 5])
    @every_context
    @torch.inference_mode()
    def test_it_equals_forward(self, case, kind, batch_size):
        pytest.importorskip("numba")
        context, x = random_context(kind, batch_size, case.spec), random_levels(batch_size, case.spec)
        decoder = case.build(context)
        stepper, stepped = decoder.stepper(context, batch_size, "compiled"), []
        for site in range(x.shape[2]):
            stepped.append(stepper.params(x[:, :, site]).clone())
            stepper.push(x[:, :, site])
        torch.testing.assert_close(torch.stack(stepped, 2), decoder(x, context), rtol=0, atol=2e-6)

    @pytest.mark.parametrize("threads", [1, 2])
    @pytest.mark.parametrize("kind", ["none", "vector", "map"])
    @pytest.mark.parametrize("temperature", [0.0, 0.7, 1.0])
    def test_it_draws_what_the_walk_draws(self, kind, temperature, threads, monkeypatch):
        """In pieces too small for a whole sound, by one thread or two, and after sites that were pushed one by one."""
        compiled = pytest.importorskip("pixelvae.decoders.compiled_wavenet", exc_type=ImportError)
        monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
        monkeypatch.setattr(compiled, "BIAS_SIZE", 3 * 7 * 8 * 6)  # 7 times at once
        context = random_context(kind, 3, SOUND)
        decoder = sharp(WaveNet(SOUND, 4, CONTEXT_DIM if kind != "none" else 0, num_layers_per_stack=3, channels=4))
        with torch.inference_mode():
            eager, stepper = (decoder.stepper(context, 3, kind) for kind in ("eager", "compiled"))
            u = torch.rand(3, 1, 20)
            x = [self.walk_on(eager, u[:, :, t], temperature) for t in range(20)]
            first = [self.walk_on(stepper, u[:, :, t], temperature) for t in range(4)]
            rest = stepper.sample(u[:, :, 4:18], temperature)
            last = [self.walk_on(stepper, u[:, :, t], temperature) for t in (18, 19)]
        drawn = torch.cat([torch.stack(first, 2), rest, torch.stack(last, 2)], dim=2)
        assert torch.equal(drawn, torch.stack(x, 2))
        assert len(x[0].unique()) <= len(drawn.unique())

    @staticmethod
    def walk_on(stepper, u, temperature):
        """One site of a walk. u: (B, 1) -> (B, 1)."""
        from pixelvae.generation import draw

        pmf = stepper.params(torch.zeros(u.shape, dtype=torch.long)).softmax(1)
        x = draw(pmf, u[:, 0], temperature)[:, None]
        stepper.push(x)
        return x

    @pytest.mark.parametrize("levels", [2, 5])
    def test_every_kind_of_stepper_samples_the_same_sounds(self, levels):
        pytest.importorskip("numba")
        spec = DataSpec((1, 30), levels)
        model = AutoregressiveModel(spec, likelihood=Categorical, decoder=SMALL, context=VectorContext)
        sharp(model)
        drawn = [decode(model, None, None, generators(3, 4), stepper=k) for k in ("full", "eager", "compiled", "auto")]
        assert all(torch.equal(x, drawn[0]) for x in drawn)
        assert drawn[0].unique().tolist() == list(range(levels))

    @torch.inference_mode()
    def test_two_walks_do_not_touch_each_other(self):
        pytest.importorskip("numba")
        decoder, x = CASES[0].build(), random_levels(2, CASES[0].spec)
        one, other = (decoder.stepper(None, 1, "compiled") for _ in range(2))
        for site in range(x.shape[2]):
            for stepper, i in ((one, 0), (other, 1)):
                params = stepper.params(x[i : i + 1, :, site])
                torch.testing.assert_close(params, decoder(x[i : i + 1])[:, :, site], rtol=0, atol=2e-6)
                stepper.push(x[i : i + 1, :, site])

    def test_what_it_is_not_for_is_said(self):
        decoder = CASES[0].build().double()
        with pytest.raises(ValueError, match=r"is for float32 on the CPU, .*choose stepper: eager"):
            decoder.stepper(None, 1, "compiled")
        assert type(decoder.stepper(None, 1)) is type(decoder.stepper(None, 1, "eager"))

    def test_without_numba_auto_is_eager(self, monkeypatch):
        monkeypatch.setattr("pixelvae.decoders.base.find_spec", lambda name: None)
        decoder = CASES[0].build()
        with pytest.raises(ValueError, match="needs numba"):
            decoder.stepper(None, 1, "compiled")
        assert type(decoder.stepper(None, 1)) is type(decoder.stepper(None, 1, "eager"))


def SMALL(spec, num_params, context_dim):  # noqa: N802 (a factory)
    return WaveNet(spec, num_params, context_dim, num_layers_per_stack=3, channels=4, head_channels=6)


@torch.no_grad()
def sharp(module: nn.Module):
    """Larger weights, so that draws differ by what was drawn before."""
    for parameter in module.parameters():
        parameter.mul_(3)
    return module.requires_grad_(False)
