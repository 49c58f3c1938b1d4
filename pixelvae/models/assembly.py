"""From a configuration to a model, made of the classes in one table."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
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
from pixelvae.ranges import require_count, require_one_of

CLASSES: Mapping[str, Sequence[type]] = {
    "likelihood": (Categorical, DiscretizedLogisticMixture),
    "decoder": (DiagonalBiLSTM, Factorised, GatedPixelCNN, PixelCNN, RowLSTM, WaveNet),
    "encoder": (ConvEncoder, WaveEncoder),
    "prior": (FlowPrior, HierarchicalPrior, StandardNormal, VampPrior),
    "context": (SpatialContext, TemporalContext, VectorContext),
}
"""The parts of a model, and what a configuration may choose for each."""


class ConfigurationError(ValueError):
    """A configuration that does not describe a model or data set of this version of pixelvae."""


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
    require_one_of("class_conditional", class_conditional, (True, False))
    require_count("latent_dim", latent_dim, least=0)
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


def build(config: Mapping[str, Any], spec: DataSpec) -> GenerativeModel:
    """The untrained model that a configuration describes, made of the classes in ``CLASSES`` only.

    Args:
        config: Has an entry for every part in ``CLASSES``, each null or a mapping of ``class_path`` and
            ``init_args``; ``latent_dim``; ``class_conditional``.
        spec: Shape, levels and labels of the data.

    Raises:
        ConfigurationError: If it names any other class, or arguments that the class does not have.
    """
    try:
        parts: dict[str, Any] = {
            name: None if config[name] is None else factory(config[name], classes, name)
            for name, classes in CLASSES.items()
        }
        return assemble(spec, latent_dim=config["latent_dim"], class_conditional=config["class_conditional"], **parts)
    except (TypeError, KeyError) as error:
        raise ConfigurationError(f"not a model of this version of pixelvae: {error}") from error


def factory(entry: Mapping[str, Any], classes: Sequence[type], option: str) -> Callable[..., Any]:
    """One of some classes, chosen by ``class_path``, with its ``init_args`` bound. Nothing is imported.

    Args:
        entry: ``class_path``, the name of a class alone or with its module, and ``init_args``.
        classes: What may be chosen.
        option: Name of the option, for the message.

    Raises:
        ConfigurationError: If the class is none of them.

    Example:
        >>> factory({"class_path": "pixelvae.StandardNormal"}, CLASSES["prior"], "prior")(2).latent_dim
        2
    """
    path = entry["class_path"]
    match = re.fullmatch(r"(?:pixelvae\.(?:[a-z_]+\.)*)?([A-Z]\w*)", path)
    by_name = {cls.__name__: cls for cls in classes}
    if match is None or match[1] not in by_name:
        raise ConfigurationError(f"{option}: class_path {path!r} is none of pixelvae's own: {', '.join(by_name)}")
    return partial(by_name[match[1]], **(entry.get("init_args") or {}))
