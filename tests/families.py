"""The members of every family. The laws run over these lists: a new member joins by one entry here."""

from collections.abc import Callable
from functools import partial
from itertools import product
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import torch
from scipy import special, stats

from pixelvae import (
    Categorical,
    ConvEncoder,
    DataSpec,
    DiagonalBiLSTM,
    DiscretizedLogisticMixture,
    Factorised,
    FlowPrior,
    GatedPixelCNN,
    HierarchicalPrior,
    PixelCNN,
    PositionContext,
    RowLSTM,
    SpatialContext,
    SpectrogramEncoder,
    StandardNormal,
    TemporalContext,
    VampPrior,
    VectorContext,
    WaveEncoder,
    WaveNet,
)

Site = tuple[int, ...]


def sites_of(spec):
    """All sites in raster order."""
    return list(product(*map(range, spec.sites)))


def everything_before(decoder, site):
    """A receptive field without a limit and without a blind spot."""
    return {other for other in sites_of(decoder.spec) if other < site}


def nothing(decoder, site):
    """No site depends on another."""
    return set()


def window(decoder, site):
    """R rows above, R columns to either side there, R pixels to the left: what GatedPixelCNN promises."""
    field, (row, column) = decoder.receptive_field, site
    return {
        (i, j)
        for i, j in everything_before(decoder, site)
        if (row - field <= i < row and abs(j - column) <= field) or (i == row and j >= column - field)
    }


def masked(decoder, seen, kernel_size, *, own):
    """All that a k x k convolution with mask A, or with mask B if ``own``, sees from the sites in ``seen``."""
    half = kernel_size // 2
    kernel = [
        (i, j) for i, j in product(range(-half, 1), range(-half, half + 1)) if (i, j) < (0, 0) or (own and i == j == 0)
    ]
    return {(i + di, j + dj) for i, j in seen for di, dj in kernel} & set(sites_of(decoder.spec))


def blind(decoder, site):
    """What the masked convolutions of a PixelCNN hand on, one after the other."""
    seen = {site}
    for layer in decoder.layers:
        seen = masked(decoder, seen, layer.conv.kernel_size[1], own=True)
    return masked(decoder, seen, decoder.first_kernel_size, own=False)


def triangle(decoder, site):
    """Up and k // 2 to either side as often as there are rows, k // 2 to the left in each layer, then mask A."""
    seen, all_sites = {site}, set(sites_of(decoder.spec))
    for layer in decoder.layers:
        half = layer.input_to_state.kernel_size[1] - 1
        for _ in range(site[0]):
            seen |= {(i - 1, j + s) for i, j in seen for s in range(-half, half + 1)} & all_sites
        seen = {(i, j - s) for i, j in seen for s in range(half + 1)} & all_sites
    return masked(decoder, seen, decoder.first_kernel_size, own=False)


def recent(decoder, site):
    """The R sites before: what WaveNet promises."""
    return {other for other in everything_before(decoder, site) if other[0] >= site[0] - decoder.receptive_field}


def kinds(**fast):
    """What every decoder has, auto and full, and its fast steppers with their tolerances."""
    return MappingProxyType({"auto": 1e-12, "full": 1e-12} | fast)


EAGER = kinds(eager=1e-12)


class Decoder(NamedTuple):
    """A decoder that obeys the laws.

    Args:
        name: Shown by pytest.
        make: Builds it from spec, num_params and context_dim.
        spec: Small data on which the laws run.
        field: (decoder, site) -> the sites that the params of a site depend on, exactly.
        channel_masked: Required value of the decoder.
        kinds: Kinds of stepper that it offers, and how far each may be from forward.
    """

    name: str
    make: Callable
    spec: DataSpec
    field: Callable = everything_before
    channel_masked: bool = False
    kinds: MappingProxyType = EAGER

    @property
    def num_params(self):
        return 2 * self.spec.channels

    def build(self, context=None):
        """The decoder, with the width of a context."""
        return self.make(self.spec, self.num_params, 0 if context is None else context.shape[1])


SMALL_CNN = partial(GatedPixelCNN, channels=3, head_channels=6, first_kernel_size=3)
WIDE_CNN = partial(SMALL_CNN, first_kernel_size=5)
SMALL_WAVENET = partial(WaveNet, channels=3, head_channels=6)


def lively(make):
    """The same decoder with larger weights and smaller biases, so that no ReLU is zero for all x."""

    def build(spec, num_params, context_dim=0):
        decoder = make(spec, num_params, context_dim)
        with torch.no_grad():
            for name, parameter in decoder.named_parameters():
                parameter.mul_(0.1 if name.endswith("bias") else 2)
        return decoder

    return build


def reached_by_positive_weights(decoder, site):
    """The sites that some path leads from to the params of a site: positive weights, so that nothing cancels."""
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.abs_()
    x = torch.full((1, *decoder.spec.shape), decoder.spec.levels - 1.0, requires_grad=True)  # all ones to the network
    (gradient,) = torch.autograd.grad(decoder(x)[0, :, *site].sum(), x)
    return {tuple(other) for other in gradient[0].any(0).nonzero().tolist()}


SMALL_RESIDUAL = {"channels": 6, "head_channels": 24, "first_kernel_size": 3}
RESIDUAL = {  # name: decoder, spec, field, channel_masked
    "pixelcnn-deep": (partial(PixelCNN, num_layers=3), DataSpec((1, 5, 6), 2), blind, False),
    "pixelcnn-wide": (
        partial(PixelCNN, num_layers=1, kernel_size=5, first_kernel_size=5),
        DataSpec((1, 6, 8), 3),
        blind,
        False,
    ),
    "pixelcnn-rgb": (partial(PixelCNN, num_layers=2), DataSpec((3, 3, 4), 3), blind, True),
    "pixelcnn-rgb_free": (partial(PixelCNN, num_layers=2, channel_masked=False), DataSpec((3, 3, 4), 2), blind, False),
    "row_lstm-deep": (partial(RowLSTM, num_layers=2), DataSpec((1, 4, 7), 2), triangle, False),
    "row_lstm-wide": (
        partial(RowLSTM, num_layers=1, kernel_size=5, first_kernel_size=5),
        DataSpec((1, 4, 9), 3),
        triangle,
        False,
    ),
    "row_lstm-rgb": (partial(RowLSTM, num_layers=1), DataSpec((3, 3, 4), 3), triangle, True),
    "row_lstm-rgb_free": (
        partial(RowLSTM, num_layers=1, channel_masked=False),
        DataSpec((3, 3, 4), 2),
        triangle,
        False,
    ),
    "diagonal_bilstm-one_layer": (
        partial(DiagonalBiLSTM, num_layers=1),
        DataSpec((1, 4, 7), 2),
        everything_before,
        False,
    ),
    "diagonal_bilstm-deep": (
        partial(DiagonalBiLSTM, num_layers=2, first_kernel_size=5),
        DataSpec((1, 5, 4), 3),
        everything_before,
        False,
    ),
    "diagonal_bilstm-rgb": (partial(DiagonalBiLSTM, num_layers=2), DataSpec((3, 3, 4), 3), everything_before, True),
    "diagonal_bilstm-rgb_free": (
        partial(DiagonalBiLSTM, num_layers=1, channel_masked=False),
        DataSpec((3, 3, 4), 2),
        everything_before,
        False,
    ),
}
DECODERS = [
    Decoder("gated_pixelcnn-deep", partial(SMALL_CNN, num_layers=4), DataSpec((1, 4, 5), 2)),
    Decoder("gated_pixelcnn-shallow", partial(SMALL_CNN, num_layers=2), DataSpec((1, 6, 7), 4), window),
    Decoder("gated_pixelcnn-one_layer", partial(WIDE_CNN, num_layers=1), DataSpec((1, 4, 6), 2), window),
    Decoder("gated_pixelcnn-wide", partial(WIDE_CNN, num_layers=2, kernel_size=5), DataSpec((1, 6, 7), 3), window),
    Decoder(
        "gated_pixelcnn-limited",
        partial(WIDE_CNN, num_layers=4, kernel_size=5, receptive_field=3),
        DataSpec((1, 6, 8), 2),
        window,
    ),
    Decoder(
        "gated_pixelcnn-limited_first",
        partial(WIDE_CNN, num_layers=3, receptive_field=1),
        DataSpec((3, 4, 5), 3),
        window,
        channel_masked=True,
    ),
    Decoder("gated_pixelcnn-rgb", partial(SMALL_CNN, num_layers=3), DataSpec((3, 4, 4), 3), channel_masked=True),
    Decoder("gated_pixelcnn-rgb_free", partial(SMALL_CNN, num_layers=3, channel_masked=False), DataSpec((3, 4, 3), 2)),
    Decoder("factorised", partial(Factorised, channels=3), DataSpec((3, 4, 3), 2), nothing),
    Decoder(
        "wavenet-deep",
        partial(SMALL_WAVENET, num_layers_per_stack=3),
        DataSpec((1, 12), 5),
    ),
    Decoder(
        "wavenet-shallow",
        partial(SMALL_WAVENET, num_stacks=1, num_layers_per_stack=2),
        DataSpec((1, 11), 3),
        recent,
    ),
    Decoder(
        "wavenet-stacks",
        partial(SMALL_WAVENET, num_stacks=3, num_layers_per_stack=2),
        DataSpec((1, 16), 4),
        recent,
    ),
    Decoder(
        "wavenet-one_layer",
        partial(SMALL_WAVENET, num_stacks=1, num_layers_per_stack=1),
        DataSpec((1, 5), 2),
        recent,
    ),
    *(
        Decoder(name, lively(partial(make, **SMALL_RESIDUAL | make.keywords)), spec, field, ordered, EAGER)
        for name, (make, spec, field, ordered) in RESIDUAL.items()
    ),
]


class LikelihoodCase(NamedTuple):
    """A likelihood, and log p(x | params) of one site by an independent formula: numpy (P,), (C,) -> nats."""

    name: str
    make: Callable
    spec: DataSpec
    formula: Callable


def bernoulli(params, x):
    return special.log_expit(np.where(x == 1, params, -params)).sum()


def softmax(params, x):
    return special.log_softmax(params.reshape(len(x), -1), axis=1)[np.arange(len(x)), x].sum()


def logistic_mixture(params, x, *, levels, components=2):
    """Differences of the cumulative distribution at the edges of a level's bin, mixed."""
    C, params = len(x), params.reshape(-1, components)
    logits, means, log_scales, coefficients = np.split(params, [1, 1 + C, 1 + 2 * C])
    signal, edge = 2 * x / (levels - 1) - 1, 1 / (levels - 1)
    p = special.softmax(logits[0])
    for c in range(C):
        earlier = np.tanh(coefficients[c * (c - 1) // 2 :][:c]).T @ signal[:c]
        component = stats.logistic(means[c] + earlier, np.exp(np.clip(log_scales[c], -7, 7)))
        lower = 0 if x[c] == 0 else component.cdf(signal[c] - edge)
        p = p * ((1 if x[c] == levels - 1 else component.cdf(signal[c] + edge)) - lower)
    return np.log(p.sum())


def mixture_case(name, spec):
    make = partial(DiscretizedLogisticMixture, num_components=2)
    return LikelihoodCase(name, make, spec, partial(logistic_mixture, levels=spec.levels))


LIKELIHOODS = [
    LikelihoodCase("categorical-grey-2", Categorical, DataSpec((1, 2, 3), 2), bernoulli),
    LikelihoodCase("categorical-grey-5", Categorical, DataSpec((1, 2, 3), 5), softmax),
    LikelihoodCase("categorical-rgb-2", Categorical, DataSpec((3, 2, 3), 2), bernoulli),
    LikelihoodCase("categorical-rgb-4", Categorical, DataSpec((3, 2, 3), 4), softmax),
    LikelihoodCase("categorical-sound-7", Categorical, DataSpec((1, 6), 7), softmax),
    mixture_case("mixture-grey-2", DataSpec((1, 2, 3), 2)),
    mixture_case("mixture-grey-256", DataSpec((1, 2, 3), 256)),
    mixture_case("mixture-rgb-4", DataSpec((3, 2, 3), 4)),
    mixture_case("mixture-two_channels-7", DataSpec((2, 2, 3), 7)),
]


def flow_prior(latent_dim, encoder=None):
    """A flow that is no standard normal, of fixed weights, whose mass lies within the grids of the laws."""
    torch.manual_seed(0)
    prior = FlowPrior(latent_dim, num_transforms=2, hidden_channels=(8,))
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.mul_(0.8)
    return prior


def vamp_prior(latent_dim, encoder=None):
    """A mixture of three posteriors of the model's encoder; without one, of fixed weights, and the three lie apart."""
    if encoder is None:
        torch.manual_seed(0)
        encoder = ConvEncoder(DataSpec((1, 4, 4), 2), latent_dim, channels=(4,))
        with torch.no_grad():
            encoder.linear.weight.mul_(4)
    return VampPrior(latent_dim, encoder, num_pseudo_inputs=3)


def hierarchical_prior(latent_dim, encoder=None):
    """As many places as there is room for in a map of one or two columns, below a vector where there is more room."""
    torch.manual_seed(0)
    map_shape = (1, 1, latent_dim) if latent_dim < 3 else (1, 2, 2)
    prior = HierarchicalPrior(latent_dim, map_shape=map_shape, num_layers=2, channels=4)
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.mul_(1.5)
    return prior


PRIORS = {
    "standard_normal": StandardNormal,
    "flow": flow_prior,
    "vamp": vamp_prior,
    "hierarchical": hierarchical_prior,
}  # name: (latent_dim, encoder or None) -> Prior

ENCODERS = {  # name: (spec, latent_dim) -> Encoder, and a spec
    "conv": (partial(ConvEncoder, channels=(3, 4)), DataSpec((1, 5, 4), 2)),
    "conv-rgb-odd": (partial(ConvEncoder, channels=(3, 4, 4)), DataSpec((3, 7, 5), 4)),
    "conv-label": (partial(ConvEncoder, channels=(3,), sees_label=True), DataSpec((1, 3, 3), 3, (2, 3))),
    "spectrogram": (partial(SpectrogramEncoder, channels=(3, 4), window=8, hop=4), DataSpec((1, 37), 8)),
    "spectrogram-odd": (partial(SpectrogramEncoder, channels=(3,), window=9, hop=7), DataSpec((2, 28), 4)),
    "spectrogram-label": (
        partial(SpectrogramEncoder, channels=(3,), window=4, hop=3, sees_label=True),
        DataSpec((1, 5), 3, (2, 3)),
    ),
    "wave": (partial(WaveEncoder, channels=(3, 4)), DataSpec((1, 37), 8)),
    "wave-odd": (partial(WaveEncoder, channels=(3, 4, 4), stride=3), DataSpec((2, 28), 4)),
    "wave-label": (partial(WaveEncoder, channels=(3,), stride=2, sees_label=True), DataSpec((1, 5), 3, (2, 3))),
}

CONTEXTS = {  # name: (spec, latent_dim) -> Context, and a spec
    "vector": (VectorContext, DataSpec((1, 5, 4), 2)),
    "vector-labels": (VectorContext, DataSpec((1, 6), 2, (2, 3))),
    "position": (partial(PositionContext, channels=3), DataSpec((1, 7, 5), 2)),
    "position-labels": (partial(PositionContext, channels=4), DataSpec((1, 10), 2, (2, 3))),
    "spatial": (partial(SpatialContext, channels=(4, 3, 3)), DataSpec((1, 7, 5), 2)),
    "spatial-labels": (partial(SpatialContext, channels=(4, 3)), DataSpec((3, 4, 4), 2, (2, 3))),
    "spatial-one_size": (partial(SpatialContext, channels=(3,)), DataSpec((1, 3, 3), 2)),
    "temporal": (partial(TemporalContext, channels=(4, 3, 3), stride=4), DataSpec((1, 37), 2)),
    "temporal-labels": (partial(TemporalContext, channels=(4, 3), stride=3), DataSpec((1, 10), 2, (2, 3))),
    "temporal-one_size": (partial(TemporalContext, channels=(3,)), DataSpec((1, 5), 2)),
}


def by_name(cases):
    """Arguments of pytest.mark.parametrize: a list of cases, or a mapping of names to cases."""
    if isinstance(cases, dict):
        return {"argvalues": list(cases.values()), "ids": list(cases)}
    return {"argvalues": cases, "ids": [case.name for case in cases]}


def random_levels(n, spec):
    """x: (n, C, *S) of all levels."""
    return torch.randint(spec.levels, (n, *spec.shape))


def random_labels(n, spec):
    """y: (n, L), None without labels."""
    return torch.stack([torch.randint(k, (n,)) for k in spec.num_classes], 1) if spec.num_classes else None
