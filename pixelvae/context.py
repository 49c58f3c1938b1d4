"""Contexts: latents and labels, mapped to the one tensor that conditions a decoder."""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pixelvae.data.spec import DataSpec
from pixelvae.nn.labels import join_labels
from pixelvae.nn.residual import Residual, Residual1d
from pixelvae.ranges import require_count, require_counts


class Context(nn.Module, ABC):
    """Abstract context module: maps latents h and labels y to the context of a decoder.

    Args:
        spec: Shape of the data and its kinds of label.
        latent_dim: Width of h, 0 without latents.

    Attributes:
        context_dim: D, the width of the context; 0 if there is nothing to condition on.
    """

    context_dim: int

    def __init__(self, spec: DataSpec, latent_dim: int) -> None:
        super().__init__()
        require_count("latent_dim", latent_dim, least=0)
        self.num_classes, self.latent_dim = spec.num_classes, latent_dim
        self.input_dim = latent_dim + sum(spec.num_classes)

    @abstractmethod
    def forward(self, h: Tensor | None, y: Tensor | None = None) -> Tensor | None:
        """h: (B, latent_dim) or None; y: (B, L) integers or None -> (B, D), (B, D, *S), or None."""

    def join(self, h: Tensor | None, y: Tensor | None) -> Tensor | None:
        """Concatenate latents and one-hot labels, (B, input_dim); None if there is neither."""
        return join_labels(h, y, self.num_classes)


class VectorContext(Context):
    r"""The latents concatenated with one-hot labels: a vector for a decoder's :math:`V^\top c`.

    Reference:
        Conditional Image Generation with PixelCNN Decoders (van den Oord et al., 2016), eq. 4.
        https://arxiv.org/abs/1606.05328

    Shape:
        h: (B, latent_dim); y: (B, L).  Returns (B, latent_dim + sum of num_classes).
    """

    def __init__(self, spec: DataSpec, latent_dim: int) -> None:
        super().__init__(spec, latent_dim)
        self.context_dim = self.input_dim

    def forward(self, h: Tensor | None, y: Tensor | None = None) -> Tensor | None:
        """h: (B, latent_dim) or None; y: (B, L) integers or None -> (B, D) or None."""
        return self.join(h, y)


class SpatialContext(Context):
    r"""A map m(h) of the image's size, from a small upsampling network: the paper's :math:`V * s`.

    The map encodes the position of every pixel and the local content of h, which a decoder with a small receptive
    field cannot infer. A linear layer computes the coarsest map. Each further entry of ``channels`` doubles its size
    by nearest-neighbour upsampling and a 3x3 convolution.

    Reference:
        Conditional Image Generation with PixelCNN Decoders (van den Oord et al., 2016), section 2.3.
        https://arxiv.org/abs/1606.05328
        PixelVAE: A Latent Variable Model for Natural Images (Gulrajani et al., 2016), section 3.
        https://arxiv.org/abs/1611.05013

    Args:
        spec: Shape of the data, (C, H, W), and its kinds of label.
        latent_dim: Width of h, 0 without latents.
        channels: Channels of the maps, from the coarsest to the context itself.

    Shape:
        h: (B, latent_dim); y: (B, L).  Returns (B, channels[-1], H, W).

    Raises:
        ValueError: If the data are not images, or there are neither latents nor labels.
    """

    def __init__(self, spec: DataSpec, latent_dim: int, *, channels: Sequence[int] = (64, 32, 16)) -> None:
        super().__init__(spec, latent_dim)
        if len(spec.shape) != 3:
            raise ValueError(f"data shape {spec.shape} is not an image (C, H, W); use TemporalContext")
        require_counts("channels", channels)
        _require_inputs(self)
        steps = len(channels) - 1
        self.sizes = [tuple(math.ceil(s / 2 ** (steps - i)) for s in spec.sites) for i in range(steps + 1)]
        self.context_dim = channels[-1]
        self.coarsest = (channels[0], *self.sizes[0])
        self.linear = nn.Linear(self.input_dim, math.prod(self.coarsest))
        self.residual = Residual(channels[0])
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in itertools.pairwise(channels))

    def forward(self, h: Tensor | None, y: Tensor | None = None) -> Tensor:
        """h: (B, latent_dim) or None; y: (B, L) integers or None -> (B, channels[-1], H, W)."""
        context = self.residual(self.linear(self.join(h, y)).unflatten(1, self.coarsest))
        for conv, size in zip(self.convs, self.sizes[1:], strict=True):
            context = conv(F.interpolate(F.silu(context), size=size, mode="nearest"))
        return context


class PositionContext(Context):
    r"""A learnt map of positions, plus a projection of latents and labels, if there are any.

    .. math:: c_s = e_s + V^\top [h, y]

    A small window without latents cannot tell where in the image it is. The gain from latents is measured against
    the same window with this map, because a :class:`SpatialContext` encodes the position, too.

    Reference:
        Image Transformer (Parmar et al., 2018), section 3.1, learnt position embeddings.
        https://arxiv.org/abs/1802.05751

    Args:
        spec: Shape of the data and its kinds of label.
        latent_dim: Width of h, 0 without latents.
        channels: D, the channels of the map.

    Shape:
        h: (B, latent_dim); y: (B, L).  Returns (B, D, *S), or (1, D, *S) without latents and labels.
    """

    def __init__(self, spec: DataSpec, latent_dim: int, *, channels: int = 16) -> None:
        super().__init__(spec, latent_dim)
        require_count("channels", channels)
        self.context_dim = channels
        self.positions = nn.Parameter(torch.randn(channels, *spec.sites))
        self.linear = nn.Linear(self.input_dim, channels, bias=False) if self.input_dim else None

    def forward(self, h: Tensor | None, y: Tensor | None = None) -> Tensor:
        """h: (B, latent_dim) or None; y: (B, L) integers or None -> (B, D, *S), or (1, D, *S)."""
        if self.linear is None:
            return self.positions[None]
        vector = self.linear(self.join(h, y))
        return self.positions + vector.unflatten(1, (-1, *[1] * (self.positions.dim() - 1)))


class TemporalContext(Context):
    r"""A series m(h) of the sound's length, from a small upsampling network: WaveNet's local conditioning.

    .. math:: y = \tanh(W_f * x + V_f * m(h)) \odot \sigma(W_g * x + V_g * m(h))

    The series encodes the position of every sample and the local content of h. A linear layer computes the coarsest
    series. Each further entry of ``channels`` is a transposed convolution that upsamples it.

    Reference:
        WaveNet: A Generative Model for Raw Audio (van den Oord et al., 2016), section 2.5.
        https://arxiv.org/abs/1609.03499

    Args:
        spec: Shape of the data, (C, T), and its kinds of label.
        latent_dim: Width of h, 0 without latents.
        channels: Channels of the series, from the coarsest to the context itself.
        stride: Upsampling factor of each transposed convolution; its kernel has 2·stride taps.

    Shape:
        h: (B, latent_dim); y: (B, L).  Returns (B, channels[-1], T).

    Raises:
        ValueError: If the data are not sounds, ``stride`` < 1, or there are neither latents nor labels.

    Example:
        >>> import torch
        >>> context = TemporalContext(DataSpec((1, 100), levels=256), latent_dim=3, channels=(8, 4, 4))
        >>> context(torch.zeros(5, 3)).shape
        torch.Size([5, 4, 100])
    """

    def __init__(
        self, spec: DataSpec, latent_dim: int, *, channels: Sequence[int] = (64, 32, 16), stride: int = 8
    ) -> None:
        super().__init__(spec, latent_dim)
        if len(spec.shape) != 2:
            raise ValueError(f"data shape {spec.shape} is not a sound (C, T); use SpatialContext")
        require_counts("channels", channels)
        require_count("stride", stride)
        _require_inputs(self)
        (self.length,) = spec.sites
        self.context_dim = channels[-1]
        self.coarsest = (channels[0], math.ceil(self.length / stride ** (len(channels) - 1)))
        self.linear = nn.Linear(self.input_dim, math.prod(self.coarsest))
        self.residual = Residual1d(channels[0])
        self.stretches = nn.ModuleList(
            nn.ConvTranspose1d(a, b, 2 * stride, stride=stride, padding=stride // 2)
            for a, b in itertools.pairwise(channels)
        )

    def forward(self, h: Tensor | None, y: Tensor | None = None) -> Tensor:
        """h: (B, latent_dim) or None; y: (B, L) integers or None -> (B, channels[-1], T)."""
        context = self.residual(self.linear(self.join(h, y)).unflatten(1, self.coarsest))
        for stretch in self.stretches:
            context = stretch(F.silu(context))
        return context[..., : self.length]


def of_batch(context: Tensor | None, batch_size: int) -> Tensor | None:
    """The context of every example, (B, D, ...); a context of one row is that of all examples."""
    return context if context is None or len(context) == batch_size else context.expand(batch_size, *context.shape[1:])


def _require_inputs(context: Context) -> None:
    if context.input_dim == 0:
        raise ValueError(
            f"{type(context).__name__} has neither latents nor labels to draw a map from: "
            "give latent_dim > 0, or leave the context out"
        )
