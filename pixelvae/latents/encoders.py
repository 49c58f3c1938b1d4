"""x -> q(h|x): modules whose forward returns a distribution."""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pixelvae.data.spec import ABSENT, DataSpec, levels_to_signal
from pixelvae.latents.distributions import DiagonalNormal
from pixelvae.nn.labels import join_labels
from pixelvae.nn.residual import Residual, Residual1d
from pixelvae.ranges import require_count, require_counts, require_one_of


class Encoder(nn.Module, ABC):
    """Abstract encoder: a module that returns the approximate posterior q(h|x, y).

    Args:
        spec: Shape and number of levels of the data, and its kinds of label.
        latent_dim: Width D of h.
    """

    def __init__(self, spec: DataSpec, latent_dim: int) -> None:
        super().__init__()
        require_count("latent_dim", latent_dim)
        self.spec, self.latent_dim = spec, latent_dim

    num_classes: tuple[int, ...] = ()  # of the labels that condition q(h|x, y)

    def forward(self, x: Tensor, y: Tensor | None = None) -> DiagonalNormal:
        """x: (B, C, *S) integers, y: (B, L) integers or None -> q(h|x, y) over (B, D)."""
        return self.posterior(self.signal(x), y)

    def signal(self, x: Tensor) -> Tensor:
        """Map levels 0 .. K-1 to [-1, 1] and absent values to 0. (B, C, *S) integers -> same shape, floats."""
        signal = levels_to_signal(x, self.spec.levels, next(self.parameters()).dtype)
        return signal.where(x != ABSENT, 0)

    @abstractmethod
    def posterior(self, signal: Tensor, y: Tensor | None = None) -> DiagonalNormal:
        """q(h|x, y) of a signal in [-1, 1]. (B, C, *S) floats, y: (B, L) or None -> over (B, D)."""


class ConvEncoder(Encoder):
    r"""A residual convolutional network with a diagonal normal posterior.

    .. math:: q(h|x) = N(h;\ \mu(x), \mathrm{diag}\,\sigma^2(x)), \qquad \sigma = \mathrm{softplus}(\cdot) + 10^{-4}

    A 3x3 convolution of stride 2 and a residual block for each entry of ``channels``; then a linear layer over the
    flattened features.

    Reference:
        Auto-Encoding Variational Bayes (Kingma and Welling, 2013), https://arxiv.org/abs/1312.6114

    Args:
        spec: Shape and number of levels of the data, (C, H, W), and its kinds of label.
        latent_dim: Width D of h.
        channels: Widths of the stages, finest first.
        sees_label: Whether q(h|x, y) also depends on the labels y.

    Shape:
        x: (B, C, H, W) integers, y: (B, L) integers or None.  Returns DiagonalNormal over (B, D).

    Raises:
        ValueError: If the data are not images, or ``sees_label`` is set but the data have no labels.

    Example:
        >>> encoder = ConvEncoder(DataSpec((1, 8, 8), levels=2), latent_dim=3, channels=(4, 8))
        >>> encoder(torch.zeros(5, 1, 8, 8, dtype=torch.long)).mean.shape
        torch.Size([5, 3])
    """

    def __init__(
        self,
        spec: DataSpec,
        latent_dim: int,
        *,
        channels: Sequence[int] = (32, 64, 64),
        sees_label: bool = False,
    ) -> None:
        super().__init__(spec, latent_dim)
        if len(spec.shape) != 3:
            raise ValueError(f"data shape {spec.shape} is not an image (C, H, W); use WaveEncoder")
        require_counts("channels", channels)
        self.num_classes = labels_seen(spec, sees_label)
        widths = [spec.channels, *channels]
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in itertools.pairwise(widths))
        self.residuals = nn.ModuleList(Residual(width) for width in channels)
        left = [math.ceil(size / 2 ** len(channels)) for size in spec.sites]
        self.linear = nn.Linear(channels[-1] * math.prod(left) + sum(self.num_classes), 2 * latent_dim)

    def posterior(self, signal: Tensor, y: Tensor | None = None) -> DiagonalNormal:
        """q(h|x, y) of a signal in [-1, 1]. (B, C, H, W) floats, y: (B, L) integers or None -> over (B, D)."""
        features = through_stages(signal, self.convs, self.residuals)
        return normal_posterior(self.linear(join_labels(F.silu(features).flatten(1), y, self.num_classes)))


class WaveEncoder(Encoder):
    r"""A residual convolutional network over time, pooled over time, with a diagonal normal posterior.

    .. math:: q(h|x) = N(h;\ \mu(x), \mathrm{diag}\,\sigma^2(x)), \qquad \sigma = \mathrm{softplus}(\cdot) + 10^{-4}

    A strided convolution and a residual block for each entry of ``channels``; then the mean over time and a linear
    layer. With a WaveNet decoder, a PixelVAE of sounds is a WaveNet autoencoder. Absent values are encoded as
    silence.

    The last features of a sound are normalised to mean 0 and variance 1. Without this, units become inactive while
    the decoder ignores the latents early in training, and no objective reactivates them.

    Reference:
        Neural Audio Synthesis of Musical Notes with WaveNet Autoencoders (Engel et al., 2017), section 2.1, the
        non-causal encoder. https://arxiv.org/abs/1704.01279
        Differs from the paper in: the latents are one vector for the whole sound; the paper's vary over time.

    Args:
        spec: Shape and number of levels of the data, (C, T), and its kinds of label.
        latent_dim: Width D of h.
        channels: Widths of the stages, finest first.
        stride: Factor by which each stage shortens time; its kernel is 2·stride + 1 long.
        sees_label: Whether q(h|x, y) also depends on the labels y.

    Shape:
        x: (B, C, T) integers, y: (B, L) integers or None.  Returns DiagonalNormal over (B, D).

    Raises:
        ValueError: If the data are not sounds, ``stride`` < 1, or ``sees_label`` is set but the data have no labels.

    Example:
        >>> encoder = WaveEncoder(DataSpec((1, 100), levels=256), latent_dim=3, channels=(4, 8))
        >>> encoder(torch.zeros(5, 1, 100, dtype=torch.long)).mean.shape
        torch.Size([5, 3])
    """

    def __init__(
        self,
        spec: DataSpec,
        latent_dim: int,
        *,
        channels: Sequence[int] = (32, 64, 64, 128),
        stride: int = 4,
        sees_label: bool = False,
    ) -> None:
        super().__init__(spec, latent_dim)
        if len(spec.shape) != 2:
            raise ValueError(f"data shape {spec.shape} is not a sound (C, T); use ConvEncoder")
        require_counts("channels", channels)
        require_count("stride", stride)
        self.num_classes = labels_seen(spec, sees_label)
        self.convs = nn.ModuleList(
            nn.Conv1d(a, b, 2 * stride + 1, stride=stride, padding=stride)
            for a, b in itertools.pairwise([spec.channels, *channels])
        )
        self.residuals = nn.ModuleList(Residual1d(width) for width in channels)
        self.linear = nn.Linear(channels[-1] + sum(self.num_classes), 2 * latent_dim)

    def posterior(self, signal: Tensor, y: Tensor | None = None) -> DiagonalNormal:
        """q(h|x, y) of a signal in [-1, 1]. (B, C, T) floats, y: (B, L) integers or None -> over (B, D)."""
        features = through_stages(signal, self.convs, self.residuals)
        features = F.group_norm(features, 1)
        return normal_posterior(self.linear(join_labels(F.silu(features).mean(2), y, self.num_classes)))


def through_stages(features: Tensor, convs: Iterable[nn.Module], residuals: Iterable[nn.Module]) -> Tensor:
    """A strided convolution and a residual block for each stage; the first stage has no activation before it."""
    for i, (conv, residual) in enumerate(zip(convs, residuals, strict=True)):
        features = residual(conv(F.silu(features) if i else features))
    return features


def labels_seen(spec: DataSpec, sees_label: bool) -> tuple[int, ...]:
    """The kinds of label that condition an encoder."""
    require_one_of("sees_label", sees_label, (True, False))
    if sees_label and not spec.num_classes:
        raise ValueError("sees_label=True, but the model has no labels; set class_conditional: true as well")
    return spec.num_classes if sees_label else ()


def normal_posterior(output: Tensor) -> DiagonalNormal:
    """Mean and raw scale side by side, (B, 2D), as a normal over (B, D)."""
    output = output if output.dtype == torch.float64 else output.float()  # densities stay in float32
    loc, raw_scale = output.chunk(2, dim=1)
    return DiagonalNormal(loc, F.softplus(raw_scale + 1) + 1e-4)
