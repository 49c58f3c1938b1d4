"""Default parts of models of images and of sounds."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch

from pixelvae.context import SpatialContext, TemporalContext
from pixelvae.data.spec import DataSpec
from pixelvae.decoders.gated_pixelcnn import GatedPixelCNN
from pixelvae.decoders.wavenet import WaveNet
from pixelvae.latents.encoders import ConvEncoder, Encoder
from pixelvae.latents.spectrogram import SpectrogramEncoder
from pixelvae.likelihoods import Categorical, DiscretizedLogisticMixture, Likelihood
from pixelvae.models.base import ContextFactory, DecoderFactory, LikelihoodFactory, build_part

CHANNELS, HEAD_CHANNELS = 32, 64
MOST_DILATIONS = 10  # of a stack, whose last dilation is then 512 samples


def is_sound(spec: DataSpec) -> bool:
    """Whether the data are sounds (C, T), not images (C, H, W)."""
    return len(spec.sites) == 1


def likelihood(spec: DataSpec) -> LikelihoodFactory:
    """Categorical; for several channels DiscretizedLogisticMixture, which needs far fewer params."""
    return Categorical if spec.channels == 1 else DiscretizedLogisticMixture


def decoder(spec: DataSpec, *, num_layers: int, first_kernel_size: int) -> DecoderFactory:
    """WaveNet for sounds, with a receptive field of about an eighth of the sound; else GatedPixelCNN."""
    if is_sound(spec):
        dilations = max(1, min(MOST_DILATIONS, spec.sites[0].bit_length() - 4))
        return partial(WaveNet, num_layers_per_stack=dilations)
    channels, head_channels = (spec.channels * math.ceil(n / spec.channels) for n in (CHANNELS, HEAD_CHANNELS))
    return partial(
        GatedPixelCNN,
        num_layers=num_layers,
        channels=channels,
        first_kernel_size=first_kernel_size,
        head_channels=head_channels,
    )


def unmasked(given: DecoderFactory, chosen: LikelihoodFactory, spec: DataSpec) -> DecoderFactory:
    """The decoder; ``channel_masked`` defaults to False where the likelihood orders the channels."""
    orders_channels = build_part("likelihood", chosen, Likelihood, spec).orders_channels
    if not orders_channels or "channel_masked" not in inspect.signature(given).parameters:
        return given
    if isinstance(given, partial) and "channel_masked" in given.keywords:
        return given
    options: dict[str, Any] = {"channel_masked": False}
    return partial(given, **options)


def encoder(spec: DataSpec) -> Callable[[DataSpec, int], Encoder]:
    """SpectrogramEncoder for sounds, else ConvEncoder."""
    return SpectrogramEncoder if is_sound(spec) else ConvEncoder


def context(spec: DataSpec) -> ContextFactory:
    """TemporalContext for sounds, else SpatialContext."""
    return TemporalContext if is_sound(spec) else SpatialContext


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw initial weights from the seed (torch.nn takes no generator), and restore the global generator."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
