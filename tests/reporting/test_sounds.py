"""Wav files hold what levels stand for; pictures show every sound on common axes."""

import io

import numpy as np
import pytest
import torch
from scipy.io import wavfile

from pixelvae.data.sound_files import read_sound
from pixelvae.data.spec import ABSENT
from pixelvae.data.transforms import mu_law_decode, mu_law_encode
from pixelvae.reporting.figures import render
from pixelvae.reporting.sounds import DECIBELS, save_wav, sound_grid, spectrogram, wav_bytes, waves

RATE = 8000


def tone(hertz, samples=2000, loudness=0.5):
    return loudness * torch.sin(2 * torch.pi * hertz * torch.arange(samples, dtype=torch.float64) / RATE)


def test_waves_end_where_the_sound_ends():
    x = torch.tensor([[[0, 128, 255, 3]], [[7, 9, ABSENT, ABSENT]]])
    given = waves(x, 256)
    assert torch.equal(given[0], mu_law_decode(x[0, 0], 256))
    assert torch.equal(given[1], mu_law_decode(torch.tensor([7, 9]), 256))


@pytest.mark.parametrize("levels", [2, 16, 256])
def test_levels_survive_the_file(tmp_path, levels):
    """16 bits are finer than 256 levels of μ-law: what is read again is what was written."""
    x = torch.arange(levels)
    save_wav(tmp_path / "sounds" / "a.wav", mu_law_decode(x, levels), RATE)
    assert torch.equal(mu_law_encode(read_sound(tmp_path / "sounds" / "a.wav", RATE), levels), x)


def test_a_wav_file_is_of_16_bits_and_the_rate_and_clipped_at_both_ends():
    rate, samples = wavfile.read(io.BytesIO(wav_bytes(torch.tensor([-3.0, -1, 0, 0.5, 1, 3]), 11025)))
    assert rate == 11025
    assert samples.dtype == np.int16
    assert samples.tolist() == [-32767, -32767, 0, 16384, 32767, 32767]


@pytest.mark.parametrize("hertz", [500, 1000, 3000])
def test_a_tone_stands_at_its_frequency_and_loudness(hertz):
    """In decibels of a full-scale sine: half the amplitude is 6 dB less."""
    decibels = spectrogram(tone(hertz))[:, 20:-20]
    assert (decibels.argmax(0) * RATE / 256 == hertz).all()
    assert decibels.max() == pytest.approx(-6.02, abs=0.01)
    assert spectrogram(torch.zeros(100)).max() == pytest.approx(-120)


def test_all_sounds_share_axes_and_colours():
    figure = sound_grid(
        [[tone(500), tone(1000, 500, 0.01)], [tone(2000, 800)]],
        rate=RATE,
        title="Tones",
        caption="all " * 100,
        row_labels=["above", "below"],
        column_labels=["left", "right"],
    )
    upper, lower = figure.axes[::2], figure.axes[1::2]
    assert len(figure.axes) == 6
    assert {axes.get_xlim() for axes in figure.axes} == {(0, 2000 / RATE)}
    assert len({axes.get_ylim() for axes in upper}) == 1
    assert {axes.get_ylim() for axes in lower} == {(0, RATE / 2000)}
    (colours,) = {axes.images[0].get_clim() for axes in lower}
    assert colours[1] - colours[0] == DECIBELS
    assert lower[1].images[0].get_extent() == [0, 500 / RATE, 0, RATE / 2000]
    texts = [text.get_text() for text in figure.texts] + [axes.get_title() for axes in upper]
    assert {"Tones", "above", "below", "left", "right", "seconds"} <= set(texts)
    assert max(len(line) for text in texts for line in text.splitlines()) <= 135
    assert render(figure).shape[1] == 1800


def test_silence_can_be_drawn():
    assert render(sound_grid([[torch.zeros(1)]], rate=RATE, title="silence")).ndim == 3


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ([], {}, "no sounds to show"),
        ([[torch.zeros(5)]], {"row_labels": ["a", "b"]}, "2 row_labels for 1 rows"),
        ([[torch.zeros(5)]], {"column_labels": ["a", "b"]}, "2 column_labels for 1 columns"),
    ],
)
def test_mistakes_are_named(rows, options, message):
    with pytest.raises(ValueError, match=message):
        sound_grid(rows, rate=RATE, title="t", **options)
