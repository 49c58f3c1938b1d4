"""GenerativeModel, the base of all models: a decoder, its likelihood and its context; forward is the bound."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Self, TypeVar

import torch
from torch import Tensor, nn

from pixelvae import generation
from pixelvae.boundary import Labels, require_batch, require_latents, require_sources
from pixelvae.context import Context, of_batch
from pixelvae.data.spec import ABSENT, DataSpec
from pixelvae.decoders.base import Decoder
from pixelvae.devices import send
from pixelvae.latents.distributions import Distribution, standard_normal_noise
from pixelvae.likelihoods import Likelihood
from pixelvae.ranges import require_count

# A factory builds each part from the sizes that the parts share, so that each size is specified once.
LikelihoodFactory = Callable[[DataSpec], Likelihood]
DecoderFactory = Callable[[DataSpec, int, int], Decoder]  # spec, num_params, context_dim
ContextFactory = Callable[[DataSpec, int], Context]  # spec, latent_dim

PARTS = ("likelihood", "decoder", "encoder", "prior", "context")
"""The names of a model's parts; without latents there is no encoder and no prior."""

Part = TypeVar("Part", bound=nn.Module)


def build_part(name: str, factory: Callable[..., Part], base: type, *sizes: object) -> Part:
    """Build a part of a model from its factory and the sizes that the parts share.

    Args:
        name: Name of the part, for the message.
        factory: The class of the part, or ``functools.partial`` of it with options.
        base: Required base class of the part.
        sizes: Arguments of the factory.

    Raises:
        ValueError: If ``factory`` is an instance instead of a factory, or the result is not a ``base``.
    """
    if isinstance(factory, nn.Module) or not callable(factory):
        kind = type(factory).__name__
        raise ValueError(
            f"{name} is {f'an instance of {kind}' if isinstance(factory, nn.Module) else repr(factory)}; wanted the "
            f"class, or functools.partial of it with options: the model builds its {name} from the spec"
        )
    part = factory(*sizes)
    if not isinstance(part, base):
        raise ValueError(f"{name} makes a {type(part).__name__}; wanted a {base.__name__}")
    return part


class Bound(NamedTuple):
    r"""The evidence lower bound of every example and its two terms, in nats.

    .. math:: \log p(x) \ge \mathrm{elbo} = E_q[\log p(x|h)] - \mathrm{KL}(q(h|x) \,\|\, p(h))

    Shape:
        log_px: (B,).  kl_groups: (B, G), whose sum over G is the KL; G = 0 without latents, where the ELBO is exact.
        posterior: q(h|x) over (B, D); None without latents.
    """

    log_px: Tensor
    kl_groups: Tensor
    posterior: Distribution | None = None

    @property
    def kl(self) -> Tensor:
        """KL(q(h|x) ‖ p(h)) in nats, (B,)."""
        return self.kl_groups.sum(1)

    @property
    def elbo(self) -> Tensor:
        """log_px − kl in nats, (B,): the ELBO itself, independent of the training objective."""
        return self.log_px - self.kl


class GenerativeModel(nn.Module, ABC):
    """Abstract base: a decoder with its likelihood and its context.

    Every public method checks and converts its arguments once, at its entry: x may have any integer type, y may be any
    of ``Labels``, and both may be on another device. A model without labels ignores a tensor y, because data sets
    yield labels for every model. Private methods, and ``posterior``, take checked arguments.

    Args:
        spec: Shape, number of levels and kinds of label; without labels for an unconditional model.
        likelihood: Builds the likelihood from the spec.
        decoder: Builds the decoder from spec, num_params and context_dim.
        context: Builds the context from spec and latent_dim.
        latent_dim: Width D of h, 0 without latents.

    Raises:
        ValueError: If the decoder and the likelihood both order the channels of a site, or a part is not a factory.
    """

    def __init__(
        self,
        spec: DataSpec,
        *,
        likelihood: LikelihoodFactory,
        decoder: DecoderFactory,
        context: ContextFactory,
        latent_dim: int,
    ) -> None:
        super().__init__()
        self.parts: dict[str, Any] = {"likelihood": likelihood, "decoder": decoder, "context": context}  # as given
        self._is_frozen = False
        self.spec, self.latent_dim = spec, latent_dim
        self.likelihood = build_part("likelihood", likelihood, Likelihood, spec)
        self.context = build_part("context", context, Context, spec, latent_dim)
        self.decoder = build_part(
            "decoder", decoder, Decoder, spec, self.likelihood.num_params, self.context.context_dim
        )
        if self.decoder.channel_masked and self.likelihood.orders_channels:
            raise ValueError(
                f"{type(self.likelihood).__name__} orders the colour channels itself, so its params may depend on no "
                f"channel of their own site, but {type(self.decoder).__name__} has channel_masked=True; "
                "set decoder.init_args.channel_masked: false"
            )

    # The verbs of generation as methods: model.sample(10, seed=0) is sample(model, 10, seed=0).
    decode = generation.decode
    sample = generation.sample
    reconstruct = generation.reconstruct
    interpolate = generation.interpolate
    complete = generation.complete
    score = generation.score

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return next(self.parameters()).device

    @property
    def has_latents(self) -> bool:
        """Whether the model has latents h, of ``latent_dim`` dimensions."""
        return self.latent_dim > 0

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the weights and latents."""
        return next(self.parameters()).dtype

    def freeze(self) -> Self:
        """Set evaluation mode and disable gradients, as in loaded models; ``train()`` reverts both."""
        self._is_frozen = True
        return self.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> Self:
        """Set training mode, and enable gradients that ``freeze`` disabled; evaluation mode if ``mode`` is false."""
        if mode and self._is_frozen:
            self._is_frozen = False
            self.requires_grad_(True)
        return super().train(mode)

    def __repr__(self) -> str:
        children = dict(self.named_children())
        names = [type(children[name]).__name__ for name in PARTS if name in children]
        latents = f", latent_dim {self.latent_dim}" if self.has_latents else ""
        number = sum(parameter.numel() for parameter in self.parameters())
        return f"{type(self).__name__}({self.spec.summary}{latents}: {', '.join(names)}; {number:,} parameters)"

    def forward(
        self,
        x: Tensor,
        y: Labels | None = None,
        *,
        noise: Tensor | torch.Generator | None = None,
        checked: bool = False,
    ) -> Bound:
        """The bound of every example.

        Args:
            x: (B, C, *S) levels.
            y: (B, L) labels of a class-conditional model.
            noise: (B, D) standard normal, or a CPU generator for it; by default torch's global one.
            checked: Whether x, y and noise have passed ``require_batch`` and ``draw_noise``. A training step checks its
                batch on the CPU, before the copy to the device.

        Raises:
            ValueError: If the shape, type or range of x, y or noise does not match the model.
        """
        if not checked:
            x, y = require_batch(x, y, self.spec, self.device)
            noise = self._checked_noise(noise, len(x))
        assert isinstance(noise, Tensor)
        assert y is None or isinstance(y, Tensor)
        return self._bound(x, y, noise)

    def log_px(self, x: Tensor, h: Tensor | None, y: Labels | None = None) -> Tensor:
        """log p(x | h, y) in nats, 0 for absent sites. x: (B, C, *S), h: (B, D) or None, y: (B, L) or None -> (B,)."""
        x, y = require_batch(x, y, self.spec, self.device)
        return self._log_px(x, require_latents(h, self.latent_dim, len(x), self.device, self.dtype), y)

    def log_weights(
        self, x: Tensor, y: Labels | None = None, *, num_samples: int, generator: torch.Generator
    ) -> Tensor:
        """log p(x, h) − log q(h|x) of S = ``num_samples`` draws h ~ q(h|x), in nats. Returns (S, B)."""
        x, y = require_batch(x, y, self.spec, self.device)
        require_count("num_samples", num_samples)
        require_sources([generator], "generator")
        return self._log_weights(x, y, num_samples, generator)

    @abstractmethod
    def encode(self, x: Tensor, y: Labels | None = None) -> Distribution:
        """q(h|x, y) over (B, D). x: (B, C, *S) levels, y: (B, L) labels, needed if the encoder depends on them.

        Raises:
            ValueError: If the model has no latents, or x or y does not match the model.
        """

    @abstractmethod
    def kl(self, q: Distribution, h: Tensor) -> Tensor:
        """KL(q ‖ p(h)) in nats, see :meth:`Prior.kl`. q over (B, D), a draw h ~ q (B, D) -> (B, G).

        Raises:
            ValueError: If the model has no latents, or the shapes of h and q differ.
        """

    def draw_latents(self, sources: Sequence[torch.Generator]) -> Tensor | None:
        """h ~ p(h), one draw from each CPU generator: (B, D), on the model's device; None without latents."""
        return self._draw_latents(require_sources(sources))

    def draw_noise(self, batch_size: int, generator: torch.Generator) -> Tensor:
        """The (B, D) standard normal noise for ``forward``; (B, 0) without latents.

        The noise is drawn on the CPU and copied to the model's device, so it is the same on every device.
        """
        return send(standard_normal_noise(batch_size, self.latent_dim, generator), self.device)

    @abstractmethod
    def posterior(self, x: Tensor, y: Tensor | None) -> Distribution:
        """:meth:`encode` for checked x and y.

        Raises:
            ValueError: If the model has no latents.
        """

    @abstractmethod
    def _bound(self, x: Tensor, y: Tensor | None, noise: Tensor) -> Bound:
        """The bound for checked arguments; training and torch.compile use it."""

    @abstractmethod
    def _log_weights(self, x: Tensor, y: Tensor | None, num_samples: int, generator: torch.Generator) -> Tensor:
        """:meth:`log_weights` for checked arguments."""

    @abstractmethod
    def _draw_latents(self, sources: Sequence[torch.Generator]) -> Tensor | None:
        """:meth:`draw_latents` for checked arguments."""

    def _log_px(self, x: Tensor, h: Tensor | None, y: Tensor | None) -> Tensor:
        """:meth:`log_px` for checked arguments."""
        present, x = (x != ABSENT).all(1), x.clamp(min=0)  # absent sites come last, so no other site depends on them
        params = self.decoder(x, of_batch(self.context(h, y), len(x)))  # (B, P, *S)
        return self.likelihood.log_prob(params, x).where(present, 0).flatten(1).sum(1)

    def _checked_noise(self, noise: Tensor | torch.Generator | None, n: int) -> Tensor:
        if isinstance(noise, Tensor) and self.latent_dim:
            checked = require_latents(noise, self.latent_dim, n, self.device, self.dtype, name="noise")
            assert checked is not None
            return checked
        if isinstance(noise, Tensor):
            if noise.shape != (n, 0):
                raise ValueError(f"noise has shape {tuple(noise.shape)}; wanted None or ({n}, 0): there are no latents")
            return noise.to(self.device)
        (generator,) = require_sources([torch.default_generator if noise is None else noise], "noise")
        return self.draw_noise(n, generator)
