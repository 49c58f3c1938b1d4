"""From a configuration to a model."""

from __future__ import annotations

from pixelvae.data.spec import DataSpec
from pixelvae.models.base import ContextFactory, DecoderFactory, GenerativeModel, LikelihoodFactory
from pixelvae.models.pixelvae import AutoregressiveModel, EncoderFactory, PixelVAE, PriorFactory


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
