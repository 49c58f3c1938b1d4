"""Small models to compress with, whose weights are fractions of small integers: the same bits with every torch."""

from functools import partial

import torch

from pixelvae import (
    AutoregressiveModel,
    Categorical,
    ConvEncoder,
    DataSpec,
    DiscretizedLogisticMixture,
    GatedPixelCNN,
    HierarchicalPrior,
    PixelVAE,
    SpatialContext,
    StandardNormal,
    TemporalContext,
    VectorContext,
    WaveEncoder,
    WaveNet,
)

SMALL = {"num_layers": 2, "channels": 6, "head_channels": 9}
PIXELCNN = partial(GatedPixelCNN, first_kernel_size=3, **SMALL)
UNMASKED = partial(PIXELCNN, channel_masked=False)
MIXTURE = partial(DiscretizedLogisticMixture, num_components=3)


def integers(shape, levels, start=0):
    """Numbers 0 .. levels - 1 without a pattern, a function of their position alone."""
    n = torch.Size(shape).numel()
    values = torch.arange(start, start + n, dtype=torch.int64)
    for _ in range(3):  # the middle of squares of 32 bits
        values = (values * 2654435761 + 12345) % 2**32
        values = values ^ (values >> 15)
    return (values % levels).reshape(shape)


def with_weights(model, size=2):
    """Every weight is (k - 500) / 512 * size / sqrt(fan-in rounded to a power of 4)."""
    with torch.no_grad():
        for i, parameter in enumerate(model.parameters()):
            fan = parameter[0].numel() if parameter.ndim > 1 else 4
            power = 2 ** round(torch.tensor(float(fan)).log2().item() / 2)
            parameter.copy_((integers(parameter.shape, 1001, 7919 * i).float() - 500) / 512 * size / power)
    return model.freeze()


def exact(spec, likelihood=Categorical, decoder=PIXELCNN, context=VectorContext):
    return with_weights(AutoregressiveModel(spec, likelihood=likelihood, decoder=decoder, context=context))


def latent(spec, prior=StandardNormal, latent_dim=3, decoder=PIXELCNN, likelihood=Categorical):
    sound = len(spec.shape) == 2
    encoder, context = (WaveEncoder, TemporalContext) if sound else (ConvEncoder, SpatialContext)
    return with_weights(
        PixelVAE(
            spec,
            likelihood=likelihood,
            decoder=decoder,
            encoder=partial(encoder, channels=(4, 8)),
            prior=prior,
            context=partial(context, channels=(8, 4)),
            latent_dim=latent_dim,
        )
    )


WAVENET = partial(WaveNet, num_layers_per_stack=2, channels=4)
TWO_LEVELS = partial(HierarchicalPrior, map_shape=(2, 2, 1), num_layers=2, channels=4)
MODELS = {
    "grey-2": lambda: exact(DataSpec((1, 7, 5), 2)),
    "grey-256": lambda: exact(DataSpec((1, 3, 4), 256)),
    "labels": lambda: exact(DataSpec((1, 4, 4), 3, (10, 3)), context=partial(SpatialContext, channels=(8, 4))),
    "rgb-5": lambda: exact(DataSpec((3, 3, 2), 5)),
    "mixture-grey-256": lambda: exact(DataSpec((1, 4, 3), 256), MIXTURE),
    "mixture-rgb-16": lambda: exact(DataSpec((3, 2, 3), 16), MIXTURE, UNMASKED),
    "sound": lambda: exact(DataSpec((1, 20), 16), decoder=WAVENET),
    "latents": lambda: latent(DataSpec((1, 8, 5), 4)),
    "latents-rgb-labels": lambda: latent(DataSpec((3, 4, 4), 2, (4,))),
    "latents-mixture-256": lambda: latent(DataSpec((1, 5, 4), 256), likelihood=MIXTURE),
    "latents-sound": lambda: latent(DataSpec((1, 20), 8), decoder=WAVENET),
    "two-levels": lambda: latent(DataSpec((1, 8, 5), 4), TWO_LEVELS, latent_dim=6),
    "two-levels-labels": lambda: latent(DataSpec((1, 4, 4), 2, (4,)), TWO_LEVELS, latent_dim=4),
}
"""Odd sizes, one site's channels, 2 to 256 levels, labels, sounds; latents of a vector, and of a vector and a map."""


def examples(model, n):
    """Levels and labels; of sounds, some are shorter."""
    spec = model.spec
    x = integers((n, *spec.shape), spec.levels)
    if len(spec.sites) == 1:
        lengths = integers((n,), spec.sites[0] + 1, 99)
        x = torch.where(torch.arange(spec.sites[0]) < lengths[:, None, None], x, -1)
    labels = [integers((n,), classes, 5 + i) for i, classes in enumerate(spec.num_classes)]
    return x, torch.stack(labels, 1) if labels else None
