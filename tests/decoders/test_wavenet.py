"""What is WaveNet's alone; all else is in test_laws.py."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from families import DECODERS, random_levels
from pixelvae import DataSpec, WaveNet
from pixelvae.decoders.wavenet import sinusoids

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


def test_a_walk_remembers_as_many_places_as_the_receptive_field_whatever_the_length():
    """One ring for each layer, of as many places as its dilation and the current one; the input is delayed by one."""
    for length in (20, 1000):
        plan = WaveNet(DataSpec((1, length), 4), 4, num_layers_per_stack=4, channels=2).plan()
        rings = sorted(m.rows for m in plan.maps if m.rows > 1)
        assert rings == sorted([1 + 1 + 1, *(1 + d for d in (2, 4, 8, 1, 2, 4, 8))])


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
    """An invalid argument is a ValueError with the given value."""
    with pytest.raises(ValueError, match=message):
        WaveNet(spec, 4, **options)


def SMALL(spec, num_params, context_dim):  # noqa: N802 (a factory)
    return WaveNet(spec, num_params, context_dim, num_layers_per_stack=3, channels=4, head_channels=6)


@torch.no_grad()
def sharp(module: nn.Module):
    """Larger weights, so that draws differ by what was drawn before."""
    for parameter in module.parameters():
        parameter.mul_(3)
    return module.requires_grad_(False)
