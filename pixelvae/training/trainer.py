"""One training step: weights, moving average, optimizer and step counter."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from pixelvae.boundary import require_batch
from pixelvae.checkpoint import Progress
from pixelvae.data.draws import generator
from pixelvae.devices import send, send_levels, set_numerics
from pixelvae.distributed import World, autocast, resolve_precision
from pixelvae.models.base import Bound, GenerativeModel
from pixelvae.nn.gated import fuse
from pixelvae.training.consistency import NUM_DRAWS, divergence, moved
from pixelvae.training.multiplier import Multiplier
from pixelvae.training.objective import MIN_WEIGHT, Objective, rewarded_information
from pixelvae.training.options import TrainingOptions

DECIDE_EVERY = 10
"""Steps between two checks whether a rate rewards information, because each check waits for the device."""


def moving_average(decay: float) -> Callable[[Any, Any, Tensor | int], None]:
    r"""Exponential moving average with a warm-up of the decay, so that the initial weights are soon forgotten.

    .. math:: \bar w \leftarrow d_n \bar w + (1 - d_n) w, \qquad d_n = \min(d, (1 + n) / (10 + n))
    """

    def update(averaged: Any, current: Any, num_averaged: Tensor | int) -> None:
        n = int(num_averaged)
        torch._foreach_lerp_(averaged, current, 1 - min(decay, (1 + n) / (10 + n)))

    return update


@contextmanager
def constant(module: nn.Module) -> Iterator[None]:
    """Treat the parameters of a module as constants, without a gradient."""
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)


class Measurement(NamedTuple):
    """Measurements of one update, still on the device; :meth:`Trainer.read` reads them.

    Attributes:
        step: Number of updates, including this one.
        learning_rate: Learning rate of this update.
        num_examples: Size of the joint batch.
        values: (4 + G,): loss, log_px and KL groups, means over the joint batch; then gradient norm and β.
    """

    step: int
    learning_rate: float
    num_examples: int
    values: Tensor


class StepRecord(NamedTuple):
    """The measurements of one update. Bounds are means over the joint batch, in nats per example."""

    step: int
    loss: float
    log_px: float
    kl_groups: Tensor
    beta: float
    learning_rate: float
    grad_norm: float
    images_per_second: float


class TrainingDivergedError(RuntimeError):
    """The loss, its gradient, the weights or a validation are not finite."""


class Trainer:
    """The state of a training run: weights, moving average, optimizer, multiplier and position in the data."""

    def __init__(
        self, model: GenerativeModel, training: TrainingOptions, objective: Objective, world: World, seed: int
    ):
        if objective.rate is not None and not model.latent_dim:
            raise ValueError(f"objective.rate={objective.rate}, but the model has no latents; set objective.rate: null")
        if objective.consistency and not (model.latent_dim and len(model.spec.shape) == 3):
            raise ValueError(
                f"objective.consistency={objective.consistency} moves pictures and compares their latents, "
                f"but the model has {model.latent_dim} latents of data of shape {model.spec.shape}; "
                "set objective.consistency: 0"
            )
        self.training, self.objective, self.world, self.seed = training, objective, world, seed
        self.multiplier = None if objective.rate is None else Multiplier(objective.rate, world.device)
        mixed = resolve_precision(training.precision, world.device) == "bf16-mixed"
        set_numerics(
            world.device, tf32=mixed, benchmark=not training.deterministic, deterministic=training.deterministic
        )
        memory_format = torch.channels_last if training.channels_last else torch.contiguous_format
        self.model = model.to(world.device, memory_format=memory_format)  # type: ignore[call-overload]
        if world.device.type == "cpu" and mixed:
            fuse(self.model)
        self.average = AveragedModel(self.model, multi_avg_fn=moving_average(training.ema_decay))
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay, fused=True
        )
        self.bound: Callable[..., Bound] = world.parallel(self.model)
        if training.compiles(world.device):
            # CUDA graphs need no launches from the host, but each replay overwrites the gradients of the one before.
            captured = world.device.type == "cuda" and world.size == training.accumulate == 1
            self.bound = torch.compile(self.bound, mode="reduce-overhead" if captured else "default")
        self.step = self.images_seen = 0
        self.train_seconds, self.best_elbo = 0.0, -math.inf
        self.rewards_information = False

    @property
    def averaged_model(self) -> GenerativeModel:
        """The model with averaged weights, in evaluation mode; it is validated, saved and returned."""
        return cast(GenerativeModel, self.average.module.eval())

    @property
    def progress(self) -> Progress:
        """The progress of this run."""
        return Progress(self.step, self.images_seen, self.train_seconds, self.seed)

    @property
    def beta(self) -> Tensor | float:
        """The weight of the KL in the next step: from the schedule, or the multiplier of the rate."""
        return self.objective.beta_at(self.step) if self.multiplier is None else self.multiplier.beta

    def state_dict(self) -> dict[str, Any]:
        """The complete state of training, in types that ``weights_only`` loading accepts."""
        return {
            "progress": self.progress._asdict(),
            "best_elbo": self.best_elbo,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "multiplier": None if self.multiplier is None else self.multiplier.state_dict(),
            "rewards_information": self.rewards_information,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue exactly from ``state_dict``, with the options of this trainer."""
        progress = Progress(**state["progress"])
        self.step, self.images_seen, self.train_seconds = progress.step, progress.images_seen, progress.train_seconds
        self.best_elbo = state["best_elbo"]
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.rewards_information = state.get("rewards_information", False)
        for group in self.optimizer.param_groups:
            group["weight_decay"] = self.training.weight_decay  # the state holds the old one
        if self.multiplier is not None and state["multiplier"] is not None:
            self.multiplier.load_state_dict(state["multiplier"])

    def require_finite_weights(self) -> None:
        """Raise TrainingDivergedError unless all weights are finite, the averaged ones too."""
        for weights in (self.model, self.averaged_model):
            if not all(bool(parameter.isfinite().all()) for parameter in weights.parameters()):
                raise TrainingDivergedError(f"after step {self.step}: the weights are not finite")

    def own_rows(self, joint: Tensor) -> Tensor:
        """This rank's rows of the joint batch."""
        return joint.chunk(self.world.size)[self.world.rank]

    def noise(self, batch_size: int) -> Tensor:
        """This rank's rows of the noise of the joint batch, which depends on seed and step only."""
        return self.own_rows(self.model.draw_noise(batch_size * self.world.size, generator(self.seed, self.step)))

    def moves(self, batch_size: int) -> Sequence[Tensor | None]:
        """For each part of an update, this rank's rows of the draws that move the pictures of the joint batch."""
        if not self.objective.consistency:
            return [None] * self.training.accumulate
        joint = torch.rand(batch_size * self.world.size, NUM_DRAWS, generator=generator(self.seed, self.step, 2))
        own = self.own_rows(joint)
        return send(own, self.world.device).chunk(self.training.accumulate)

    def update(self, x: Tensor, y: Tensor, others: Callable[[], tuple[Tensor, Tensor]] | None = None) -> Measurement:
        """One step on this rank's (x, y). Does not wait for the device; skips the update if it is not finite.

        Args:
            x: (B, C, *S) integer levels.
            y: (B, L) labels.
            others: Loads other examples, the same on every rank, for the lower bound of information. Called only if a
                rate rewards information.
        """
        training = self.training
        spec, device = self.model.spec, self.world.device
        x, labels = require_batch(x, y, spec, x.device, synchronise=False)  # on the CPU, before the transfer
        x, labels = send_levels(x, device), None if labels is None else send(labels, device)
        learning_rate = training.learning_rate_at(self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        beta = self.beta
        if self.multiplier is not None and self.step > 0 and self.step % DECIDE_EVERY == 0:
            self.rewards_information = bool(beta < MIN_WEIGHT)  # waits for the device
        among = (
            require_batch(*others(), spec, device, synchronise=False) if others and self.rewards_information else None
        )
        self.optimizer.zero_grad()
        xs, noises = x.chunk(training.accumulate), self.noise(len(x)).chunk(training.accumulate)
        ys = [None] * len(xs) if labels is None else labels.chunk(training.accumulate)
        batches = zip(zip(xs, noises, ys, strict=True), self.moves(len(x)), strict=True)
        measured = [self.backward(*batch, beta, among, moves) for batch, moves in batches]
        terms = self.world.mean(torch.stack(measured).mean(0))
        grad_norm = nn.utils.clip_grad_norm_(self.model.parameters(), training.clip_norm or math.inf)
        self.optimizer.found_inf = (~(terms[0] + grad_norm).isfinite()).float()  # type: ignore[attr-defined]
        self.optimizer.step()  # a fused optimizer skips the update if found_inf is 1
        self.average.update_parameters(self.model)
        if self.multiplier is not None:
            self.multiplier.update(terms[2:].sum())
        self.step, self.images_seen = self.step + 1, self.images_seen + len(x) * self.world.size
        values = torch.cat([terms, grad_norm[None].to(terms), beta * terms.new_ones(1)])
        return Measurement(self.step, learning_rate, len(x) * self.world.size, values)

    def backward(
        self,
        x: Tensor,
        noise: Tensor,
        y: Tensor | None,
        beta: Tensor | float,
        among: tuple[Tensor, Tensor | None] | None = None,
        moves: Tensor | None = None,
    ) -> Tensor:
        """Add this batch's share of the gradients of an update; return its loss, log_px and KL groups, (2 + G,).

        Args:
            x: (B, C, *S) levels.
            noise: (B, D) standard normal.
            y: (B, L) labels.
            beta: Weight of the KL.
            among: x and y of other examples, for the rewarded lower bound of information; None for no reward.
            moves: (B, 4) draws in [0, 1) that move the pictures, for ``objective.consistency``; None for none.
        """
        information = inconsistency = None
        with autocast(self.training.precision, self.world.device):
            bound = self.bound(x, y, noise=noise, checked=True)
            others = None if among is None else self.model.posterior(*among)
            shifted = None if moves is None else self.model.posterior(moved(x, moves), y)
        if others is not None and bound.posterior is not None:
            h = bound.posterior.rsample(noise)
            with constant(self.model.prior):
                kl = self.model.prior.kl(bound.posterior, h).sum(1)
            information = rewarded_information(bound.posterior, h, others, kl, self.world.mean)
        if shifted is not None and bound.posterior is not None:
            inconsistency = divergence(shifted, bound.posterior, noise)
        loss = self.objective.loss(bound, beta, self.world.mean, information, inconsistency)
        (loss / self.training.accumulate).backward()
        return torch.cat([loss[None], bound.log_px.mean()[None], bound.kl_groups.mean(0)]).detach()

    def read(self, measurements: Sequence[Measurement], *, since: float) -> list[StepRecord]:
        """Wait for the device and read the measurements of updates since ``since``, a time.perf_counter in seconds.

        Raises:
            TrainingDivergedError: If a loss or gradient is not finite.
        """
        rows = torch.stack([measurement.values for measurement in measurements]).tolist()
        seconds = time.perf_counter() - since
        self.train_seconds += seconds
        rate = sum(measurement.num_examples for measurement in measurements) / seconds
        records = []
        for (step, learning_rate, *_), (loss, log_px, *kl_groups, grad_norm, beta) in zip(
            measurements, rows, strict=True
        ):
            if not math.isfinite(loss + grad_norm):
                raise TrainingDivergedError(
                    f"after step {step - 1}: the loss is {loss} nats, the gradient norm {grad_norm}"
                )
            kl = torch.tensor(kl_groups)
            records.append(StepRecord(step, loss, log_px, kl, beta, learning_rate, grad_norm, rate))
        return records
