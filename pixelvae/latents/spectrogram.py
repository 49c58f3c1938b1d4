"""q(h|x) of a sound from its spectrogram."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pixelvae.data.spec import DataSpec
from pixelvae.latents.distributions import DiagonalNormal
from pixelvae.latents.encoders import Encoder, labels_seen, normal_posterior, through_stages
from pixelvae.nn.labels import join_labels
from pixelvae.nn.residual import Residual1d
from pixelvae.ranges import require, require_count, require_counts

SILENCE = 1e-4
"""Power below which a frequency counts as silent; it keeps the logarithm finite."""


class SpectrogramEncoder(Encoder):
    r"""A residual convolutional network over the frames of a log power spectrogram, with a diagonal normal posterior.

    .. math:: s_{ft} = \log\Big(\tfrac{1}{W} \Big|\sum_n w_n\, x_{tH + n}\, e^{-2\pi i f n / W}\Big|^2 + 10^{-4}\Big)

    with a Hann window w of W samples every H samples. A convolution of stride 2 and a residual block for each entry
    of ``channels``; then a linear layer over all times. So h may encode the moment at which a frequency occurs.

    The phase of a waveform is random, so features that are linear in it have mean 0 over sounds, and the likelihood
    has almost no gradient towards them. The power has no phase.

    Reference:
        Neural Audio Synthesis of Musical Notes with WaveNet Autoencoders (Engel et al., 2017), section 2.2, the
        spectral autoencoder on log magnitudes. https://arxiv.org/abs/1704.01279
        Differs from the paper in: the convolutions are over time, with the frequencies as channels.

    Args:
        spec: Shape and number of levels of the data, (C, T), and its kinds of label.
        latent_dim: Width D of h.
        channels: Widths of the stages, finest first.
        window: W, samples of a frame.
        hop: H, samples between the starts of two frames.
        initial_scale: σ of every latent before training. A wide one is noise from which a decoder turns away before
            the encoder has learnt anything.
        sees_label: Whether q(h|x, y) also depends on the labels y.

    Shape:
        x: (B, C, T) integers, y: (B, L) integers or None.  Returns DiagonalNormal over (B, D).

    Raises:
        ValueError: If the data are not sounds, ``window`` < 2, ``hop`` is not in 1 .. ``window``, or ``sees_label`` is
            set but the data have no labels.

    Example:
        >>> encoder = SpectrogramEncoder(DataSpec((1, 100), levels=256), latent_dim=3, channels=(4,), window=32, hop=16)
        >>> encoder(torch.zeros(5, 1, 100, dtype=torch.long)).mean.shape
        torch.Size([5, 3])
    """

    fourier: Tensor  # (2F, 1, W): windowed cosines, then sines

    def __init__(
        self,
        spec: DataSpec,
        latent_dim: int,
        *,
        channels: Sequence[int] = (64, 64, 64),
        window: int = 256,
        hop: int = 64,
        initial_scale: float = 0.1,
        sees_label: bool = False,
    ) -> None:
        super().__init__(spec, latent_dim)
        if len(spec.shape) != 2:
            raise ValueError(f"data shape {spec.shape} is not a sound (C, T); use ConvEncoder")
        require_counts("channels", channels)
        require_count("window", window, least=2)
        require_count("hop", hop, most=window)
        require("initial_scale", initial_scale, above=0)
        self.num_classes = labels_seen(spec, sees_label)
        self.window, self.hop = window, hop
        self.register_buffer("fourier", fourier_basis(window), persistent=False)
        widths = [spec.channels * (window // 2 + 1), *channels]
        self.convs = nn.ModuleList(nn.Conv1d(a, b, 3, stride=2, padding=1) for a, b in itertools.pairwise(widths))
        self.residuals = nn.ModuleList(Residual1d(width) for width in channels)
        left = math.ceil(math.ceil(spec.sites[0] / hop) / 2 ** len(channels))
        self.linear = nn.Linear(channels[-1] * left + sum(self.num_classes), 2 * latent_dim)
        with torch.no_grad():  # softplus(raw + 1) is the scale
            self.linear.bias[latent_dim:] = initial_scale + math.log(-math.expm1(-initial_scale)) - 1

    def spectrogram(self, signal: Tensor) -> Tensor:
        """The log power of every frequency of every frame. (B, C, T) -> (B, C·F, T/H), F = W/2 + 1."""
        batch, channels, length = signal.shape
        frames = math.ceil(length / self.hop)
        left = (self.window - self.hop) // 2
        right = (frames - 1) * self.hop + self.window - length - left
        padded = F.pad(signal.reshape(batch * channels, 1, length), (left, right))
        parts = F.conv1d(padded, self.fourier.to(signal.dtype), stride=self.hop)
        power = parts.square().unflatten(1, (2, -1)).sum(1) / self.window
        return (power + SILENCE).log().reshape(batch, -1, frames)

    def posterior(self, signal: Tensor, y: Tensor | None = None) -> DiagonalNormal:
        """q(h|x, y) of a signal in [-1, 1]. (B, C, T) floats, y: (B, L) integers or None -> over (B, D)."""
        # bfloat16 has too few digits for silence, and its gradient of a few frames can be NaN on a CPU.
        with torch.autocast(signal.device.type, enabled=False):
            return self._posterior(signal, y)

    def _posterior(self, signal: Tensor, y: Tensor | None) -> DiagonalNormal:
        features = self.spectrogram(signal) / -math.log(SILENCE)  # at least −1
        features = through_stages(features, self.convs, self.residuals)
        return normal_posterior(self.linear(join_labels(F.silu(features).flatten(1), y, self.num_classes)))


def fourier_basis(window: int) -> Tensor:
    """Cosines, then sines, of all frequencies of a frame under a Hann window without its zeros, (2F, 1, W)."""
    n = torch.arange(window, dtype=torch.double)
    phase = 2 * math.pi * torch.arange(window // 2 + 1, dtype=torch.double)[:, None] * n / window
    basis = (
        torch.cat([phase.cos(), phase.sin()]) * torch.hann_window(window + 2, periodic=False, dtype=torch.double)[1:-1]
    )
    return basis.float()[:, None]
