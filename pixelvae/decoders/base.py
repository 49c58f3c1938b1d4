"""The interface of decoders: all conditionals at once, or one site at a time from a plan."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

import torch
from torch import Tensor, nn

from pixelvae.data.spec import DataSpec, levels_to_signal
from pixelvae.ranges import require_count
from pixelvae.sampling.eager import EagerStepper
from pixelvae.sampling.engine import EngineStepper
from pixelvae.sampling.plan import Plan
from pixelvae.sampling.prepared import Prepared
from pixelvae.sampling.stepper import FullForward, Stepper

StepperKind = Literal["auto", "compiled", "eager", "full"]


class Decoder(nn.Module, ABC):
    r"""Abstract decoder: the likelihood params of all conditionals :math:`p(x_t \mid x_{<t}, \mathrm{context})`.

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
        require_count("num_params", num_params)
        require_count("context_dim", context_dim, least=0)
        self.spec, self.num_params, self.context_dim = spec, num_params, context_dim
        self._prepared: Prepared | None = None

    @abstractmethod
    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """All conditionals at once. x: (B, C, *S) integers; context: (B, D) or (B, D, *S) -> (B, P, *S)."""

    def plan(self) -> Plan | None:
        """The computation of one site at a time, as data; None if the decoder has no plan."""
        return None

    def plan_context(self, context: Tensor | None, batch_size: int) -> Tensor | None:
        """The context that the plan uses; by default the context of the decoder."""
        return context

    def prepared(self) -> Prepared | None:
        """The plan, packed for the executors; packed again when a weight has changed."""
        weights = torch.cat([parameter.detach().flatten() for parameter in self.parameters()])
        if self._prepared is None or not self._prepared.is_of(weights):
            plan = self.plan()
            self._prepared = None if plan is None else Prepared(plan, weights)
        return self._prepared

    def stepper(self, context: Tensor | None, batch_size: int, kind: StepperKind = "auto") -> Stepper:
        """The same conditionals, one site at a time.

        Args:
            context: (B, D), (B, D, *S) or None.
            batch_size: B.
            kind: ``full`` computes a whole forward pass for every site, ``eager`` executes the plan in PyTorch,
                ``compiled`` in compiled code on the CPU; ``auto`` selects the fastest available kind.

        Raises:
            ValueError: If this kind is not available for the decoder or the machine; the message gives the reason.
        """
        self.check_context(context)
        prepared = self.choose(kind)
        if prepared is None:
            device = next(self.parameters()).device
            return FullForward(lambda x: self(x, context), self.spec.shape, batch_size, device)
        context = self.plan_context(context, batch_size)
        if prepared.runs_in_engine(kind):
            return EngineStepper(prepared.packed, context, batch_size)
        return EagerStepper(prepared.eager, context, batch_size)

    def choose(self, kind: StepperKind) -> Prepared | None:
        """The plan that a kind of stepper executes; None for whole forward passes.

        Raises:
            ValueError: If the kind is unknown, or not available for the decoder or the machine.
        """
        if kind not in ("auto", "compiled", "eager", "full"):
            raise ValueError(f"stepper {kind!r}; choose auto, compiled, eager or full")
        prepared = None if kind == "full" else self.prepared()
        if prepared is None and kind in ("compiled", "eager"):
            raise ValueError(f"stepper {kind!r}: {type(self).__name__} has no plan; choose stepper: auto")
        return prepared

    def signal(self, x: Tensor) -> Tensor:
        """Integer levels 0..K-1 as floats evenly spread over [-1, 1]."""
        dtype = next(self.parameters()).dtype
        return levels_to_signal(x, self.spec.levels, dtype)

    def check_context(self, context: Tensor | None) -> None:
        """Raise ValueError unless the context has width ``context_dim``."""
        given = None if context is None else tuple(context.shape)
        if (given is None) != (self.context_dim == 0) or (given is not None and given[1] != self.context_dim):
            wanted = f"(B, {self.context_dim}) or (B, {self.context_dim}, *S)" if self.context_dim else "None"
            raise ValueError(f"context has shape {given}; a decoder with context_dim={self.context_dim} wants {wanted}")


class AutoregressiveDecoder(Decoder, ABC):
    """Abstract decoder whose params at a site depend on the previous sites, x_<t, and not on later ones."""
