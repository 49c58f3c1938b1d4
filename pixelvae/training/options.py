"""How to train: the options of a training run."""

from __future__ import annotations

import math
import shutil
from dataclasses import dataclass
from typing import Literal

from pixelvae.distributed import Precision

COMPILE_REPAYS_AFTER = 1500
"""Steps after which torch.compile has saved the seconds that its first step takes (measured: 70 to 1,130)."""


@dataclass(frozen=True)
class TrainingOptions:
    """Optimizer, schedule, precision and checkpoints of a training run. The defaults are the fast ones.

    Args:
        steps: Number of weight updates.
        batch_size: Examples of one update on each rank, where ``accumulate`` is 1.
        accumulate: Batches of each update, one after the other, whose gradients are averaged: memory as for
            ``batch_size``, an update as for ``accumulate * batch_size``. What an objective measures over a joint
            batch (free bits, the information and the KL of a rate), it measures over ``batch_size`` examples of each
            rank.
        learning_rate: Peak learning rate of AdamW.
        lr_warmup_steps: Steps over which the learning rate rises linearly from 0.
        final_lr_fraction: The cosine decay ends at this fraction of ``learning_rate``.
        weight_decay: Decoupled weight decay.
        clip_norm: Gradients are scaled down to this norm (nats per unit of weight); 0 disables clipping.
        ema_decay: Decay of the moving average of the weights that is evaluated and saved.
        precision: ``bf16-mixed`` where the device is fast at it (``auto``), or ``float32``.
        channels_last: Memory format of the convolutions; true is faster on nearly every device.
        compile: torch.compile of the training step; ``auto`` compiles runs that are long enough to repay it.
        validate_every: Steps between validations (and between pictures in TensorBoard).
        validation_images: Examples of a validation, spread over the split; None for all.
        checkpoint_every: Steps between checkpoints.
        num_workers: Processes that load data; 0 is fastest for sets that fit in memory.

    Raises:
        ValueError: If an option is out of range.
    """

    steps: int = 20_000
    batch_size: int = 64
    accumulate: int = 1
    learning_rate: float = 2e-3
    lr_warmup_steps: int = 100
    final_lr_fraction: float = 0.03
    weight_decay: float = 0.0
    clip_norm: float = 50.0
    ema_decay: float = 0.998
    precision: Precision = "auto"
    channels_last: bool = True
    compile: Literal["auto", "always", "never"] = "auto"
    validate_every: int = 1000
    validation_images: int | None = None
    checkpoint_every: int = 500
    num_workers: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "accumulate", "validate_every", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"train.{name}={getattr(self, name)}; wanted at least 1")
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"train.ema_decay={self.ema_decay}; wanted a number in [0, 1)")
        if self.learning_rate <= 0:
            raise ValueError(f"train.learning_rate={self.learning_rate}; wanted more than 0")

    @property
    def examples_per_update(self) -> int:
        """Examples of one update on each rank."""
        return self.batch_size * self.accumulate

    def learning_rate_at(self, step: int) -> float:
        """Linear warm-up, then a cosine decay to ``final_lr_fraction`` of the peak."""
        if step < self.lr_warmup_steps:
            return self.learning_rate * (step + 1) / self.lr_warmup_steps
        progress = (step - self.lr_warmup_steps) / max(self.steps - self.lr_warmup_steps, 1)
        cosine = 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
        return self.learning_rate * (self.final_lr_fraction + (1 - self.final_lr_fraction) * cosine)

    def compiles(self) -> bool:
        """Whether to use torch.compile: ``auto`` requires enough steps and a C++ compiler."""
        if self.compile == "auto":
            return self.steps >= COMPILE_REPAYS_AFTER and shutil.which("g++") is not None
        return self.compile == "always"
