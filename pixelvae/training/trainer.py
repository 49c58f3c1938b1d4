"""The options of training, and one update: the weights, their average and the optimizer."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from pixelvae.checkpoint import Progress
from pixelvae.distributed import Precision, World, autocast
from pixelvae.models.base import Bound, GenerativeModel
from pixelvae.training.objective import Multiplier, Objective

COMPILE_REPAYS_AFTER = 3000  # steps; torch.compile takes 10 to 60 s to start and saves about a third of a step


@dataclass(frozen=True)
class Training:
    """How to train. The defaults are the fast ones.

    Args:
        steps: Updates of the weights in all.
        batch_size: Examples of one update on each rank.
        learning_rate: Peak learning rate of AdamW.
        lr_warmup_steps: Steps over which the learning rate rises linearly from 0.
        final_lr_fraction: The cosine decay ends at this fraction of ``learning_rate``.
        weight_decay: Decoupled weight decay.
        clip_norm: Gradients are scaled down to this norm (nats per unit of weight); 0 for never.
        ema_decay: Decay of the moving average of the weights that is evaluated and saved.
        precision: ``bf16-mixed`` where the device is fast at it (``auto``), or ``float32``.
        channels_last: Memory format of the convolutions; true is faster nearly everywhere.
        compile: torch.compile of the training step: ``auto`` where the steps repay its start-up.
        validate_every: Steps between validations (and between pictures in TensorBoard).
        validation_images: Examples of a validation, None for the whole split.
        checkpoint_every: Steps between checkpoints.
        num_workers: Processes that load data; 0 is fastest for sets that fit in memory.

    Raises:
        ValueError: If an option is out of range.
    """

    steps: int = 20_000
    batch_size: int = 64
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
        for name in ("steps", "batch_size", "validate_every", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"train.{name}={getattr(self, name)}; wanted at least 1")
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"train.ema_decay={self.ema_decay}; wanted a number in [0, 1)")
        if self.learning_rate <= 0:
            raise ValueError(f"train.learning_rate={self.learning_rate}; wanted more than 0")

    def learning_rate_at(self, step: int) -> float:
        """Linear warm-up, then a cosine down to ``final_lr_fraction`` of the peak."""
        if step < self.lr_warmup_steps:
            return self.learning_rate * (step + 1) / self.lr_warmup_steps
        progress = (step - self.lr_warmup_steps) / max(self.steps - self.lr_warmup_steps, 1)
        cosine = 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
        return self.learning_rate * (self.final_lr_fraction + (1 - self.final_lr_fraction) * cosine)

    def compiles(self) -> bool:
        """Whether to use torch.compile: where asked for, or where it pays and a C++ compiler is there."""
        if self.compile == "auto":
            return self.steps >= COMPILE_REPAYS_AFTER and shutil.which("g++") is not None
        return self.compile == "always"


def moving_average(decay: float) -> Callable[[Any, Any, Tensor | int], None]:
    r"""Exponential moving average whose decay grows to its value, so that it forgets the initial weights soon.

    .. math:: \bar w \leftarrow d_n \bar w + (1 - d_n) w, \qquad d_n = \min(d, (1 + n) / (10 + n))
    """

    def update(averaged: Any, current: Any, num_averaged: Tensor | int) -> None:
        n = int(num_averaged)
        torch._foreach_lerp_(averaged, current, 1 - min(decay, (1 + n) / (10 + n)))

    return update


class StepRecord(NamedTuple):
    """One update of the weights. Bounds are means over the joint batch, in nats per example."""

    step: int
    loss: float
    log_px: float
    kl_groups: Tensor
    beta: float
    learning_rate: float
    grad_norm: float
    images_per_second: float


class TrainingDivergedError(RuntimeError):
    """The loss is not finite any more."""


class Trainer:
    """The weights, their average, the optimizer and the position in the data: all that a run is made of."""

    def __init__(self, model: GenerativeModel, training: Training, objective: Objective, world: World, seed: int):
        if objective.rate is not None and not model.latent_dim:
            raise ValueError(f"objective.rate={objective.rate}, but the model has no latents; set objective.rate: null")
        self.training, self.objective, self.world, self.seed = training, objective, world, seed
        self.multiplier = None if objective.rate is None else Multiplier(objective.rate)
        memory_format = torch.channels_last if training.channels_last else torch.contiguous_format
        self.model = model.to(world.device).to(memory_format=memory_format)
        self.average = AveragedModel(self.model, multi_avg_fn=moving_average(training.ema_decay))
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay, fused=True
        )
        parallel = world.parallel(self.model)
        self.bound: Callable[..., Bound] = torch.compile(parallel) if training.compiles() else parallel
        self.step = self.images_seen = 0
        self.train_seconds, self.best_elbo = 0.0, -math.inf

    @property
    def averaged_model(self) -> GenerativeModel:
        """The moving average of the weights, in evaluation mode: what is validated, saved and returned."""
        return cast(GenerativeModel, self.average.module.eval())

    @property
    def progress(self) -> Progress:
        """How far this run is."""
        return Progress(self.step, self.images_seen, self.train_seconds, self.seed)

    @property
    def beta(self) -> float:
        """The weight of the KL in the next step: of the schedule, or the multiplier of the rate."""
        return self.objective.beta_at(self.step) if self.multiplier is None else self.multiplier.beta

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on, of types that load without running code."""
        return {
            "progress": self.progress._asdict(),
            "best_elbo": self.best_elbo,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "multiplier": None if self.multiplier is None else self.multiplier.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on exactly where ``state_dict`` stood."""
        progress = Progress(**state["progress"])
        if progress.seed != self.seed:
            raise ValueError(
                f"seed={self.seed}, but the run to resume has seed {progress.seed}; set seed: {progress.seed}"
            )
        self.step, self.images_seen, self.train_seconds = progress.step, progress.images_seen, progress.train_seconds
        self.best_elbo = state["best_elbo"]
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.multiplier is not None and state["multiplier"] is not None:
            self.multiplier.load_state_dict(state["multiplier"])

    def noise(self, batch_size: int) -> Tensor:
        """This rank's rows of the joint batch's noise, which depends on seed and step alone."""
        generator = torch.Generator().manual_seed((self.seed << 32) + self.step)
        joint = self.model.draw_noise(batch_size * self.world.size, generator)
        return joint.chunk(self.world.size)[self.world.rank]

    def update(self, x: Tensor, y: Tensor, *, since: float) -> StepRecord:
        """One step on this rank's (x, y), whose loading began at ``since`` (time.perf_counter seconds)."""
        training = self.training
        x, y = x.to(self.world.device, non_blocking=True), y.to(self.world.device, non_blocking=True)
        learning_rate = training.learning_rate_at(self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        with autocast(training.precision, self.world.device):
            bound = self.bound(x, y, noise=self.noise(len(x)))
        beta = self.beta
        loss = self.objective.loss(bound, beta, self.world.mean)
        self.optimizer.zero_grad()
        loss.backward()
        grad_norm = nn.utils.clip_grad_norm_(self.model.parameters(), training.clip_norm or math.inf)
        terms = torch.cat([loss[None], bound.log_px.mean()[None], bound.kl_groups.mean(0)]).detach()
        total, log_px, *kl_groups = self.world.mean(terms).tolist()
        if not math.isfinite(total) or not math.isfinite(float(grad_norm)):
            raise TrainingDivergedError(f"the loss is {total} nats, the gradient norm {float(grad_norm)}")
        self.optimizer.step()
        self.average.update_parameters(self.model)
        if self.multiplier is not None:
            self.multiplier.update(sum(kl_groups))
        seconds = time.perf_counter() - since
        joint = len(x) * self.world.size
        self.step, self.images_seen = self.step + 1, self.images_seen + joint
        self.train_seconds += seconds
        return StepRecord(
            self.step, total, log_px, torch.tensor(kl_groups), beta, learning_rate, float(grad_norm), joint / seconds
        )
