"""Sounds as wav files, and as figures of waveforms and spectrograms."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from pixelvae.data.spec import ABSENT
from pixelvae.data.transforms import mu_law_decode
from pixelvae.reporting.figures import COLOURS, DPI, INK, SMALL, TEXT, empty_figure
from pixelvae.storage import write_atomically

WINDOW, HOP = 256, 32  # samples of the spectrogram: 32 ms and 4 ms at 8 kHz
DECIBELS = 80  # range of the colours below the loudest value
WIDTH, CELL, MARGIN = 9.0, 1.05, 0.15  # inches: of the figure, height of one sound, around everything
TOP, HEADING, BOTTOM = 0.4, 0.25, 0.45  # inches: height of the title, of column labels, of the time axis
LINE, LETTERS = 0.17, 135  # inches from one line of the caption to the next, letters in it


def waves(x: Tensor, levels: int) -> list[Tensor]:
    """The waveforms that μ-law levels encode, each as long as its sound. (B, 1, T) -> B of (at most T,) float64.

    Example:
        >>> waves(torch.tensor([[[1, 2, 4]], [[2, ABSENT, ABSENT]]]), levels=5)
        [tensor([-0.3090,  0.0000,  1.0000], dtype=torch.float64), tensor([0.], dtype=torch.float64)]
    """
    return [mu_law_decode(sound[sound != ABSENT], levels) for sound in x[:, 0].cpu()]


def wav_bytes(wave: Tensor, rate: int) -> bytes:
    """A wav file of one channel and 16 bits. wave: (N,) in [−1, 1]."""
    from scipy.io import wavfile  # imported here because it takes a second

    buffer = io.BytesIO()
    wavfile.write(buffer, rate, (wave.double().clamp(-1, 1) * 32767).round().short().numpy())
    return buffer.getvalue()


def save_wav(path: Path, wave: Tensor, rate: int) -> None:
    """Write a wav file atomically. wave: (N,) in [−1, 1]."""
    write_atomically(path, wav_bytes(wave, rate))


def spectrogram(wave: Tensor) -> npt.NDArray[np.float64]:
    """Magnitude of every frequency at every time, in decibels of a full-scale sine. (N,) -> (WINDOW/2 + 1, frames)."""
    window = torch.hann_window(WINDOW, dtype=torch.float64)
    padded = torch.nn.functional.pad(wave.double(), (WINDOW // 2, WINDOW // 2))
    spectrum = torch.stft(padded, WINDOW, HOP, window=window, center=False, return_complex=True).abs()
    return (20 * (spectrum * 2 / window.sum()).clamp(min=1e-6).log10()).numpy()


def sound_grid(
    rows: Sequence[Sequence[Tensor]],
    *,
    rate: int,
    title: str,
    caption: str = "",
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
) -> Figure:
    """A grid of sounds, the waveform of each above its spectrogram, with common axes and colours.

    Args:
        rows: Waves (N,) in [−1, 1] of any length, one sequence for each row.
        rate: Samples per second.
        title: Title, above the grid.
        caption: Caption, below the grid; it is wrapped.
        row_labels: One for each row, or none.
        column_labels: One for each column, or none.

    Raises:
        ValueError: If there is no sound, or labels do not fit the grid.

    Example:
        >>> figure = sound_grid([[torch.zeros(800)]], rate=8000, title="silence", row_labels=["nothing"])
        >>> len(figure.axes)
        2
    """
    columns = max(map(len, rows), default=0)
    if columns == 0:
        raise ValueError("no sounds to show")
    for name, labels, number in (("row", row_labels, len(rows)), ("column", column_labels, columns)):
        if labels and len(labels) != number:
            raise ValueError(f"{len(labels)} {name}_labels for {number} {name}s")
    lines = textwrap.wrap(caption, LETTERS)
    above, below = TOP + HEADING * bool(column_labels), BOTTOM + LINE * len(lines)
    height = above + CELL * len(rows) + below
    figure = empty_figure(round(WIDTH * DPI), round(height * DPI), title, lines)
    x, y = MARGIN / WIDTH, MARGIN / height
    sounds = [wave for row in rows for wave in row]
    seconds, peak = max(map(len, sounds)) / rate, max(float(wave.abs().max()) for wave in sounds)
    loudest = max(spectrogram(wave).max() for wave in sounds)
    left = 0.95 if row_labels else 0.5
    grid = figure.add_gridspec(
        3 * len(rows), columns, left=left / WIDTH, right=1 - x, top=1 - above / height, bottom=below / height,
        height_ratios=[3, 4, 0.8] * len(rows), hspace=0, wspace=0.06,
    )  # fmt: skip
    for i, row in enumerate(rows):
        for j, wave in enumerate(row):
            upper, lower = (figure.add_subplot(grid[3 * i + part, j]) for part in (0, 1))
            _draw(upper, lower, wave, rate, loudest)
            upper.set(xlim=(0, seconds), ylim=(-peak or -1, peak or 1), xticks=[], yticks=[])
            lower.set(xlim=(0, seconds), ylim=(0, rate / 2000), yticks=[0, rate / 4000])
            lower.tick_params(labelsize=SMALL, colors=INK, labelleft=j == 0, labelbottom=i == len(rows) - 1)
            if column_labels and i == 0:
                upper.set_title(column_labels[j], fontsize=TEXT, color=INK)
        if row_labels:
            place = grid[3 * i + 1, 0].get_position(figure)
            figure.text(x, place.y1, row_labels[i], fontsize=TEXT, color=INK, va="center")
    figure.text(1 - x, (below - BOTTOM) / height + y / 2, "seconds", fontsize=SMALL, color=INK, ha="right")
    figure.axes[1].set_ylabel("kHz", fontsize=SMALL, color=INK)
    return figure


def _draw(upper: Axes, lower: Axes, wave: Tensor, rate: int, loudest: float) -> None:
    """The waveform and the spectrogram of one sound."""
    upper.plot(np.arange(len(wave)) / rate, wave.numpy(), color=COLOURS[0], linewidth=0.4)
    upper.axis("off")
    lower.imshow(
        spectrogram(wave),
        origin="lower",
        aspect="auto",
        extent=(0, len(wave) / rate, 0, rate / 2000),
        vmin=loudest - DECIBELS,
        vmax=loudest,
        cmap="magma",
    )
    lower.spines[["top", "right"]].set_visible(False)
