"""From a configuration to a model."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from pixelvae.context import SpatialContext, TemporalContext, VectorContext
from pixelvae.data.spec import DataSpec
from pixelvae.decoders.factorised import Factorised
from pixelvae.decoders.gated_pixelcnn import GatedPixelCNN
from pixelvae.decoders.pixelcnn import PixelCNN
from pixelvae.decoders.pixelrnn import DiagonalBiLSTM, RowLSTM
from pixelvae.decoders.wavenet import WaveNet
from pixelvae.latents.encoders import ConvEncoder, WaveEncoder
from pixelvae.latents.hierarchical import HierarchicalPrior
from pixelvae.latents.priors import FlowPrior, StandardNormal, VampPrior
from pixelvae.likelihoods import Categorical, DiscretizedLogisticMixture
from pixelvae.models.base import ContextFactory, DecoderFactory, GenerativeModel, LikelihoodFactory
from pixelvae.models.pixelvae import AutoregressiveModel, EncoderFactory, PixelVAE, PriorFactory
from pixelvae.storage import CheckpointError


def by_name(*classes: type) -> dict[str, type]:
    """Classes by their names."""
    return {cls.__name__: cls for cls in classes}


# What a configuration may name.
PARTS: dict[str, dict[str, type]] = {
    "likelihood": by_name(Categorical, DiscretizedLogisticMixture),
    "decoder": by_name(GatedPixelCNN, PixelCNN, RowLSTM, DiagonalBiLSTM, WaveNet, Factorised),
    "encoder": by_name(ConvEncoder, WaveEncoder),
    "prior": by_name(StandardNormal, FlowPrior, VampPrior, HierarchicalPrior),
    "context": by_name(VectorContext, SpatialContext, TemporalContext),
}


def assemble(
    spec: DataSpec,
    *,
    likelihood: LikelihoodFactory,
    decoder: DecoderFactory,
    encoder: EncoderFactory | None,
    prior: PriorFactory | None,
    context: ContextFactory,
    latent_dim: int,
    class_conditional: bool,
) -> GenerativeModel:
    """The model that a configuration describes: a PixelVAE, or without an encoder an AutoregressiveModel.

    Raises:
        ValueError: If labels are asked of data that have none, or only one of encoder and prior is given.
    """
    if class_conditional and not spec.num_classes:
        raise ValueError("class_conditional=True, but the data set has no labels; set class_conditional: false")
    if not class_conditional:
        spec = spec._replace(num_classes=())
    if encoder is None or prior is None:
        if encoder is not None or prior is not None or latent_dim:
            raise ValueError(
                "a model without latents has encoder: null, prior: null and latent_dim: 0; a PixelVAE has all three"
            )
        return AutoregressiveModel(spec, likelihood=likelihood, decoder=decoder, context=context)
    return PixelVAE(
        spec,
        likelihood=likelihood,
        decoder=decoder,
        encoder=encoder,
        prior=prior,
        context=context,
        latent_dim=latent_dim,
    )


def build(config: dict[str, Any], spec: DataSpec) -> GenerativeModel:
    """The untrained model that a configuration describes, made of pixelvae's own classes only.

    Args:
        config: Has ``likelihood``, ``decoder``, ``encoder``, ``prior``, ``context``, each null or a mapping of
            ``class_path`` and ``init_args``; ``latent_dim``; ``class_conditional``.
        spec: Shape, levels and labels of the data.

    Raises:
        CheckpointError: If it names any other class, or arguments that the class does not have.
    """
    try:
        parts: dict[str, Any] = {
            name: None if config[name] is None else chosen(config[name], classes, name)
            for name, classes in PARTS.items()
        }
        return assemble(spec, latent_dim=config["latent_dim"], class_conditional=config["class_conditional"], **parts)
    except (TypeError, KeyError) as error:
        raise CheckpointError(f"config.yaml does not describe a model of this version of pixelvae: {error}") from error


def chosen(entry: Mapping[str, Any], classes: Mapping[str, type], option: str) -> Callable[..., Any]:
    """A class by its name, with its arguments bound. Any other name is refused, and nothing is imported.

    Args:
        entry: ``class_path``, the name of a class or its path within pixelvae, and ``init_args``.
        classes: Those that may be chosen.
        option: Which option this is, for the message.

    Raises:
        CheckpointError: If the class is none of these.
    """
    path = entry["class_path"]
    match = re.fullmatch(r"(?:pixelvae\.(?:[a-z_]+\.)*)?([A-Z]\w*)", path)
    if not match or match[1] not in classes:
        raise CheckpointError(f"{option}: class_path {path!r} is none of pixelvae's own: {', '.join(sorted(classes))}")
    return partial(classes[match[1]], **(entry.get("init_args") or {}))
