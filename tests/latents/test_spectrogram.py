"""Laws of the spectrogram encoder: its power is that of a Fourier transform, and h may encode the moment."""

import math

import numpy as np
import pytest
import torch

from pixelvae import DataSpec, SpectrogramEncoder
from pixelvae.data.spec import ABSENT
from pixelvae.latents.spectrogram import SILENCE


@pytest.mark.parametrize(("window", "hop", "length"), [(16, 8, 64), (16, 16, 50), (9, 4, 33), (8, 3, 5)])
def test_the_spectrogram_is_the_log_power_of_numpy(window, hop, length):
    encoder = SpectrogramEncoder(DataSpec((2, length), levels=4), 3, channels=(4,), window=window, hop=hop)
    signal = torch.rand(3, 2, length) * 2 - 1
    found = encoder.spectrogram(signal).unflatten(1, (2, -1))  # (B, C, F, frames)
    left, frames = (window - hop) // 2, math.ceil(length / hop)
    padded = np.pad(signal.numpy(), ((0, 0), (0, 0), (left, window + hop)))
    hann = np.hanning(window + 2)[1:-1]
    for t in range(frames):
        spectrum = np.fft.rfft(padded[..., t * hop : t * hop + window] * hann)
        wanted = np.log(np.abs(spectrum) ** 2 / window + SILENCE)
        np.testing.assert_allclose(found[..., t].numpy(), wanted, rtol=1e-3, atol=1e-3)


def test_what_is_absent_is_silence():
    encoder = SpectrogramEncoder(DataSpec((1, 30), 5), 2, channels=(3, 4), window=8, hop=4)
    x = torch.randint(5, (4, 1, 30))
    x[:, :, 20:] = 2  # the middle one of five levels
    padded = x.clone()
    padded[:, :, 20:] = ABSENT
    assert torch.equal(encoder(padded).mean, encoder(x).mean)


def test_the_phase_of_a_sound_does_not_change_its_posterior_but_its_moment_does():
    encoder = SpectrogramEncoder(DataSpec((1, 512), levels=256), 4, window=64, hop=16)
    time = torch.arange(512)
    burst = torch.exp(-(((time - 150) / 40) ** 2))
    sine, cosine = (burst * wave for wave in ((time * 0.8).sin(), (time * 0.8).cos()))
    later, silence = sine.roll(128), torch.zeros(512)  # by the stride of all stages
    means = encoder.posterior(torch.stack([sine, cosine, later, silence])[:, None]).mean
    other_phase, other_moment, nothing = ((means[0] - mean).abs().max() for mean in means[1:])
    assert other_phase < 0.05 * nothing
    assert other_moment > 0.5 * nothing


def test_the_posterior_is_float32_under_autocast():
    encoder = SpectrogramEncoder(DataSpec((1, 64), 4), 2, channels=(3,), window=8, hop=4)
    x = torch.randint(4, (2, 1, 64))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = encoder(x).mean
    assert torch.equal(inside, encoder(x).mean)


@pytest.mark.parametrize(
    ("spec", "options", "message"),
    [
        (DataSpec((1, 4, 4), 2), {}, r"\(1, 4, 4\) is not a sound"),
        (DataSpec((1, 16), 2), {"sees_label": True}, "sees_label=True"),
        (DataSpec((1, 16), 2), {"window": 1}, "window=1"),
        (DataSpec((1, 16), 2), {"window": 8, "hop": 9}, "hop=9"),
    ],
)
def test_an_invalid_argument_is_named(spec, options, message):
    with pytest.raises(ValueError, match=message):
        SpectrogramEncoder(spec, 2, **options)


@pytest.mark.parametrize("scale", [0.1, 2.0])
def test_the_posterior_begins_with_the_initial_scale(scale):
    encoder = SpectrogramEncoder(DataSpec((1, 64), 4), 3, channels=(3,), window=8, hop=4, initial_scale=scale)
    with torch.no_grad():
        encoder.linear.weight.zero_()
    assert encoder(torch.zeros(1, 1, 64, dtype=torch.long)).scale.tolist()[0] == pytest.approx([scale] * 3, rel=2e-3)
