"""A plan and its packed weights for each executor, cached until the weights change."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from pixelvae.sampling.eager import EagerWeights
from pixelvae.sampling.engine import Packed, reason_against
from pixelvae.sampling.plan import Plan


class Prepared:
    """A plan, packed on first use by each executor.

    Args:
        plan: The plan of a decoder.
        weights: All weights of the decoder in one vector, (N,).
    """

    def __init__(self, plan: Plan, weights: Tensor) -> None:
        self.plan, self.weights = plan, weights

    def is_of(self, weights: Tensor) -> bool:
        """Whether values, dtype and device of the weights are unchanged."""
        mine = self.weights
        same_kind = (mine.dtype, mine.device, mine.shape) == (weights.dtype, weights.device, weights.shape)
        return same_kind and torch.equal(mine, weights)

    @cached_property
    def packed(self) -> Packed:
        """The plan in the layout of the engine."""
        return Packed(self.plan)

    @cached_property
    def eager(self) -> EagerWeights:
        """The plan for plain PyTorch."""
        return EagerWeights(self.plan)

    def runs_in_engine(self, kind: str) -> bool:
        """Whether a kind of stepper runs in the engine.

        Raises:
            ValueError: If ``compiled`` is not available; the message gives the reason.
        """
        reason = reason_against(self.plan) if kind in ("auto", "compiled") else "not requested"
        if kind == "compiled" and reason:
            raise ValueError(f"stepper 'compiled' {reason}; choose stepper: eager")
        return not reason

    def __reduce__(self) -> tuple[Any, tuple[()]]:
        """Exclude the packed plans from copies and pickles of a decoder."""
        return type(None), ()
