"""Options of a training run."""

from __future__ import annotations

import importlib.util
import math
import shutil
from dataclasses import dataclass
from typing import Literal, get_args

import torch

from pixelvae.distributed import Precision
from pixelvae.ranges import MAX_COUNT, require, require_count, require_one_of

COMPILE_REPAYS_AFTER = 1500
"""Steps after which torch.compile has repaid its compilation time (measured: 70 to 1,130)."""

MAX_WORKERS = 1024
"""Maximum number of processes that load data."""


@dataclass(frozen=True)
class TrainingOptions:
    """Optimizer, schedule, precision and checkpoints of a training run. The defaults are chosen for speed.

    Args:
        steps: Number of weight updates.
        batch_size: Examples of one update on each rank, if ``accumulate`` is 1.
        accumulate: Number of batches per update, whose gradients are averaged: the memory of ``batch_size``, the
            update of ``accumulate * batch_size``. Free bits, and the information and KL of a rate, are means over
            ``batch_size`` examples of each rank.
        learning_rate: Peak learning rate of AdamW.
        lr_warmup_steps: Steps over which the learning rate rises linearly from 0.
        final_lr_fraction: The cosine decay ends at this fraction of ``learning_rate``.
        weight_decay: Decoupled weight decay.
        clip_norm: Gradients are scaled down to this norm (nats per unit of weight); 0 disables clipping.
        ema_decay: Decay of the moving average of the weights. Validation and checkpoints use the average.
        precision: ``bf16-mixed`` or ``float32``; ``auto`` takes the first where the device is fast at it. On CUDA,
            float32 products use TF32 under ``bf16-mixed`` and never under ``float32``.
        channels_last: Memory format of the convolutions; true is faster on nearly every device.
        compile: torch.compile of the training step; ``auto`` compiles runs that are long enough to repay it.
        validate_every: Steps between validations (and between pictures in TensorBoard).
        validation_images: Examples of a validation, spread over the split; None for all.
        checkpoint_every: Steps between checkpoints.
        num_workers: Processes that load data; 0 is fastest for data in memory.
        deterministic: On an accelerator, restrict training to algorithms that repeat a run bit for bit; slower. Runs
            on the CPU always repeat.

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
    deterministic: bool = False

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "accumulate", "validate_every", "checkpoint_every"):
            require_count(f"train.{name}", getattr(self, name), most=MAX_COUNT)
        require_count("train.lr_warmup_steps", self.lr_warmup_steps, least=0, most=MAX_COUNT)
        require_count("train.num_workers", self.num_workers, least=0, most=MAX_WORKERS)
        if self.validation_images is not None:
            require_count("train.validation_images", self.validation_images, most=MAX_COUNT)
        require("train.learning_rate", self.learning_rate, above=0)
        require("train.final_lr_fraction", self.final_lr_fraction, least=0, most=1)
        require("train.weight_decay", self.weight_decay, least=0)
        require("train.clip_norm", self.clip_norm, least=0)
        require("train.ema_decay", self.ema_decay, least=0, below=1)
        require_one_of("train.precision", self.precision, get_args(Precision))
        require_one_of("train.compile", self.compile, ("auto", "always", "never"))
        require_one_of("train.channels_last", self.channels_last, (True, False))

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

    def compiles(self, device: torch.device) -> bool:
        """Whether to use torch.compile: ``auto`` requires enough steps, and g++ for a CPU or Triton for CUDA."""
        if self.compile != "auto":
            return self.compile == "always"
        has_compiler = {
            "cpu": lambda: shutil.which("g++") is not None,
            "cuda": lambda: importlib.util.find_spec("triton") is not None,
        }
        return self.steps >= COMPILE_REPAYS_AFTER and device.type in has_compiler and has_compiler[device.type]()
