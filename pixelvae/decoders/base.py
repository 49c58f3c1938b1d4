"""The one interface of every autoregressive decoder: all conditionals at once, or one site at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from importlib.util import find_spec
from itertools import product
from typing import Any, Literal

import torch
from torch import Tensor, nn

from pixelvae.data.spec import DataSpec

StepperKind = Literal["auto", "compiled", "eager", "full"]


class Stepper(ABC):
    """The conditionals of one walk in raster order. State of the walk, never of the module.

    For every site the walk calls :meth:`params` once (once per channel where the decoder is
    ``channel_masked``) and then :meth:`push`.
    """

    @abstractmethod
    def params(self, x_site: Tensor) -> Tensor:
        """Params of the current site, given its channels known so far. (B, C) levels -> (B, P)."""

    @abstractmethod
    def push(self, x_site: Tensor) -> None:
        """Commit the current site's (B, C) levels and move on to the next."""


class SamplingStepper(Stepper):
    """A stepper that can draw by itself, if its params are logits: K of each channel, levels fastest, one if K = 2.

    Whether they are is for the caller to know: a decoder is told how many params to give, not what they mean.
    """

    @abstractmethod
    def sample(self, u: Tensor, temperature: float) -> Tensor:
        """Draw and commit the next n sites in raster order, as :func:`pixelvae.generation.draw` would.

        Args:
            u: (B, C, n) uniform numbers in [0, 1).
            temperature: Divides the logits; 0 takes the most probable level.

        Returns:
            (B, C, n) levels.
        """


class AutoregressiveDecoder(nn.Module, ABC):
    r"""The params of every conditional :math:`p(x_t \mid x_{<t}, \mathrm{context})`.

    Args:
        spec: Shape and number of levels of the data.
        num_params: Likelihood parameters P per site.
        context_dim: Width D of the context, 0 for none.

    Attributes:
        channel_masked: True if the network itself orders the channels of a site (R, then G given R, ...);
            False if params do not depend on any channel of their own site.
    """

    channel_masked: bool = False

    def __init__(self, spec: DataSpec, num_params: int, context_dim: int) -> None:
        super().__init__()
        self.spec, self.num_params, self.context_dim = spec, num_params, context_dim

    @abstractmethod
    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """All conditionals at once. x: (B, C, *S) integers; context: (B, D) or (B, D, *S) -> (B, P, *S)."""

    def stepper(self, context: Tensor | None, batch_size: int, kind: StepperKind = "auto") -> Stepper:
        """The same conditionals, one site at a time. The default recomputes everything for every site.

        Args:
            context: (B, D), (B, D, *S) or None.
            batch_size: B.
            kind: ``full`` recomputes everything for every site, ``eager`` caches in plain PyTorch, ``compiled``
                caches in compiled code on the CPU; ``auto`` takes the fastest that the decoder and machine have.

        Raises:
            ValueError: If this decoder has no stepper of that kind.
        """
        if kind not in ("auto", "full"):
            raise ValueError(f"stepper {kind!r}: {type(self).__name__} has only 'full'; choose stepper: auto")
        return FullForward(self, context, batch_size)

    def eager_or_compiled(self, kind: StepperKind) -> StepperKind:
        """For decoders that have both: ``auto`` is ``compiled`` for float32 on the CPU where numba is installed.

        Raises:
            ValueError: If ``compiled`` is asked for where it cannot run; says why.
        """
        weight, reason = next(self.parameters()), ""
        if find_spec("numba") is None:
            reason = "needs numba, which is not installed (pip install pixelvae[fast])"
        elif weight.device.type != "cpu" or weight.dtype != torch.float32:
            reason = f"is for float32 on the CPU, the decoder is {weight.dtype} on {weight.device}"
        if kind == "compiled" and reason:
            raise ValueError(f"stepper 'compiled' {reason}; choose stepper: eager")
        return ("eager" if reason else "compiled") if kind == "auto" else kind

    def signal(self, x: Tensor) -> Tensor:
        """Integer levels 0..K-1 to floats evenly spread over [-1, 1], what networks like to see."""
        dtype = next(self.parameters()).dtype
        return x.to(dtype) * (2 / (self.spec.levels - 1)) - 1

    def check_context(self, context: Tensor | None) -> None:
        """Raise ValueError unless the context is what ``context_dim`` promised."""
        given = None if context is None else tuple(context.shape)
        if (given is None) != (self.context_dim == 0) or (given is not None and given[1] != self.context_dim):
            wanted = f"(B, {self.context_dim}) or (B, {self.context_dim}, *S)" if self.context_dim else "None"
            raise ValueError(f"context has shape {given}; a decoder with context_dim={self.context_dim} wants {wanted}")


class FullForward(Stepper):
    """One whole forward pass for every site: slow, right, and the oracle of the fast steppers."""

    def __init__(self, decoder: AutoregressiveDecoder, context: Tensor | None, batch_size: int) -> None:
        self.decoder, self.context = decoder, context
        device = next(decoder.parameters()).device
        self.x = torch.zeros(batch_size, *decoder.spec.shape, dtype=torch.long, device=device)
        self.sites = product(*map(range, decoder.spec.sites))
        self.site: tuple[Any, ...] = next(self.sites)

    def params(self, x_site: Tensor) -> Tensor:
        """Params of the current site, from a whole forward pass. (B, C) levels -> (B, P)."""
        self.x[:, :, *self.site] = x_site
        return self.decoder(self.x, self.context)[:, :, *self.site]

    def push(self, x_site: Tensor) -> None:
        """Commit the current site's (B, C) levels and move on to the next."""
        self.x[:, :, *self.site] = x_site
        self.site = next(self.sites, self.site)
