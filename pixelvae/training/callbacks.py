"""Callbacks of a training run."""

from __future__ import annotations

import warnings
from collections.abc import Callable

from pixelvae.evaluation.bounds import Bounds
from pixelvae.evaluation.information import Health
from pixelvae.models.base import GenerativeModel
from pixelvae.training.trainer import StepRecord


class Observer:
    """Callbacks of a training run; every method is optional. After an OSError, training continues without them."""

    def on_start(self, step: int) -> None:
        """Called once before the first update: the run starts (step 0) or resumes at this step."""

    def on_step(self, record: StepRecord) -> None:
        """Called for every update, in order; on an accelerator, for ``READ_EVERY`` of them at a time."""

    def on_health(self, step: int, health: Health) -> None:
        """Called after the validation of a model with latents, just before ``on_validation``."""

    def on_validation(self, step: int, model: GenerativeModel, bounds: Bounds) -> None:
        """Called after a validation of the averaged weights."""


class Callbacks:
    """Call an observer until one of its files cannot be written; then warn once and stop calling it.

    Attributes:
        log: Function that receives the warning; None for Python's warnings.
    """

    def __init__(self, observer: Observer) -> None:
        self.observer = observer
        self.log: Callable[[str], object] | None = None

    def __call__(self, call: Callable[[Observer], object]) -> None:
        """Call one method of the observer."""
        try:
            call(self.observer)
        except OSError as error:
            message = f"Warning: {type(self.observer).__name__} failed ({error}); training continues without it"
            self.observer = Observer()
            if self.log is None:
                warnings.warn(message, stacklevel=2)
            else:
                self.log(message)
