"""A plan with what the executors made of it, kept until the weights change."""

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
        plan: Of weights as they are now.
        weights: All of them in one vector, (N,): what the plan was made of.
    """

    def __init__(self, plan: Plan, weights: Tensor) -> None:
        self.plan, self.weights = plan, weights

    def is_of(self, weights: Tensor) -> bool:
        """Whether the weights are still the same numbers, of the same kind, in the same place."""
        mine = self.weights
        same_kind = (mine.dtype, mine.device, mine.shape) == (weights.dtype, weights.device, weights.shape)
        return same_kind and torch.equal(mine, weights)

    @cached_property
    def packed(self) -> Packed:
        """For the engine."""
        return Packed(self.plan)

    @cached_property
    def eager(self) -> EagerWeights:
        """For plain PyTorch."""
        return EagerWeights(self.plan)

    def runs_in_engine(self, kind: str) -> bool:
        """Whether a kind of stepper is the engine's.

        Raises:
            ValueError: If ``compiled`` is asked for where it cannot run; says why.
        """
        reason = reason_against(self.plan) if kind in ("auto", "compiled") else "not asked for"
        if kind == "compiled" and reason:
            raise ValueError(f"stepper 'compiled' {reason}; choose stepper: eager")
        return not reason

    def __reduce__(self) -> tuple[Any, tuple[()]]:
        """A copy of a decoder prepares its plan itself."""
        return type(None), ()
