"""The training loop: fit, with validation, checkpoints and callbacks."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from pixelvae.checkpoint import Progress, load_training, save_model, save_training
from pixelvae.data.splits import Batches, BatchKey, DataSet
from pixelvae.distributed import World, resolve_precision
from pixelvae.evaluation.bounds import Bounds, evaluate_bound
from pixelvae.evaluation.information import Health, latent_health
from pixelvae.memory import keep_freed_memory
from pixelvae.models.assembly import configuration, how_to_open
from pixelvae.models.base import GenerativeModel
from pixelvae.progress import tqdm
from pixelvae.training.objective import NUM_OTHERS, Objective
from pixelvae.training.options import TrainingOptions
from pixelvae.training.trainer import StepRecord, Trainer, TrainingDivergedError

HEALTH_IMAGES = 1000
"""Maximum number of validation images for the health of the latents: their mutual information is at most 6.9 nats."""

READ_EVERY = 10
"""Steps between two reads of the measurements on an accelerator, because each read waits for the device."""


class Observer:
    """Callbacks of a training run; every method is optional."""

    def on_step(self, record: StepRecord) -> None:
        """Called for every update, in order; on an accelerator, for ``READ_EVERY`` of them at a time."""

    def on_health(self, step: int, health: Health) -> None:
        """Called after the validation of a model with latents, just before ``on_validation``."""

    def on_validation(self, step: int, model: GenerativeModel, bounds: Bounds) -> None:
        """Called after a validation of the averaged weights."""


class Fitted(NamedTuple):
    """The result of a run.

    Attributes:
        model: The averaged weights, in evaluation mode.
        progress: Step, images seen and seconds, including those before a resumption.
        interrupted: Whether a signal ended it before its last step; ``last`` is saved in either case.
    """

    model: GenerativeModel
    progress: Progress
    interrupted: bool


def read_interval(device: torch.device) -> int:
    """Steps between two reads of the measurements."""
    return 1 if device.type == "cpu" else READ_EVERY


@contextmanager
def deferred_signals() -> Iterator[list[int]]:
    """Collect Ctrl-C and SIGTERM, so that the current step finishes and is saved; a second signal interrupts."""
    received: list[int] = []

    def receive(number: int, _frame: object) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(number)

    try:
        previous = {number: signal.signal(number, receive) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not the main thread, which alone may handle signals
        previous = {}
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def fit(
    model: GenerativeModel,
    data: DataSet,
    training: TrainingOptions,
    objective: Objective,
    *,
    out: Path,
    config: dict[str, Any],
    seed: int,
    world: World,
    resume: bool = False,
    observer: Observer | None = None,
    progress: bool = True,
) -> Fitted:
    """Train, validate on a schedule, and save the best and the last checkpoint to ``out``.

    Args:
        model: Changed in place, to the raw weights; the averaged ones are returned and saved.
        data: Trains on ``train``, selects the best weights on ``validation``, never reads ``test``.
        training: Optimizer, schedule, precision and checkpoints.
        objective: What is maximised.
        out: The run's folder: ``out/best`` and ``out/last`` are checkpoints.
        config: The resolved configuration that is saved with them; parts that it lacks are the model's own.
        seed: Seed of data order and noise; equal seeds on one machine give equal runs, bit for bit.
        world: Device, rank and number of processes.
        resume: Continue exactly from ``out/last``.
        observer: Callbacks, called on rank 0 only.
        progress: Whether to show a progress bar.

    Raises:
        TrainingDivergedError: If the loss is not finite; names the step, the last checkpoint and remedies.
        CheckpointError: If there is nothing to resume.
    """
    keep_freed_memory()
    config = configuration(model, config)
    trainer = Trainer(model, training, objective, world, seed)
    if resume:
        trainer.load_state_dict(load_training(out / "last", world.device))
    _Loop(trainer, data, out, config, (observer or Observer()) if world.is_main else Observer()).run(progress)
    return Fitted(trainer.averaged_model, trainer.progress, trainer.step < training.steps)


class _Loop:
    """Trains, validates and saves."""

    def __init__(self, trainer: Trainer, data: DataSet, out: Path, config: dict[str, Any], observer: Observer) -> None:
        self.trainer, self.data, self.out, self.config, self.observer = trainer, data, out, config, observer
        self.read_every = read_interval(trainer.world.device)
        self.log: Callable[[str], object] = lambda _: None

    def loader(self) -> DataLoader:
        """The batches from the current step on."""
        trainer, world = self.trainer, self.trainer.world
        sampler = Batches(
            len(self.data.train),
            trainer.training.examples_per_update,
            seed=trainer.seed,
            start=trainer.step,
            rank=world.rank,
            world_size=world.size,
        )
        return DataLoader(self.data.train, sampler=sampler, batch_size=None, num_workers=trainer.training.num_workers)

    def run(self, progress: bool) -> None:
        """Update until the last step or a signal."""
        trainer, world, last = self.trainer, self.trainer.world, self.trainer.training.steps
        show = progress and world.is_main
        with tqdm(
            total=last, initial=trainer.step, unit="step", disable=not show, dynamic_ncols=True, mininterval=0.5
        ) as bar:
            if show:
                self.log = bar.write
                self.log(self.announcement())
                if advice := how_to_open(self.config):
                    self.log(advice)
            with deferred_signals() as signals:
                batches, stop = iter(self.loader()), False
                while trainer.step < last and not stop:
                    records = self.updates(batches)
                    for record in records:
                        self.observer.on_step(record)
                    stop = world.any(bool(signals))
                    bar.update(len(records))
                    bar.set_postfix_str(_postfix(records[-1]), refresh=False)
                    self.validate_and_save(final=stop or trainer.step == last)

    def updates(self, batches: Iterator[tuple[Tensor, Tensor]]) -> list[StepRecord]:
        """Updates up to the next read; on divergence, raise an error that suggests remedies."""
        since, measured = time.perf_counter(), [self.trainer.update(*next(batches), self.others)]
        while len(measured) < self.read_every and not self.is_due():
            measured.append(self.trainer.update(*next(batches), self.others))
        try:
            return self.trainer.read(measured, since=since)
        except TrainingDivergedError as error:
            last = self.out / "last"
            where = f"the last good checkpoint is {last}" if last.is_dir() else "there is no checkpoint yet"
            raise TrainingDivergedError(
                f"{error}; {where}. Try a lower train.learning_rate, a smaller train.clip_norm, more "
                "train.lr_warmup_steps, or train.precision: float32"
            ) from error

    def others(self) -> tuple[Tensor, Tensor]:
        """Random training examples of this step, the same on every rank: see :class:`Objective`."""
        generator = torch.Generator().manual_seed((self.trainer.seed << 32) + self.trainer.step)
        indices = torch.randint(len(self.data.train), (NUM_OTHERS,), generator=generator)
        return self.data.train[BatchKey(indices, epoch=self.trainer.step)]

    def is_due(self) -> bool:
        """Whether to validate or save after this step."""
        step, training = self.trainer.step, self.trainer.training
        return step == training.steps or step % training.validate_every == 0 or step % training.checkpoint_every == 0

    def validate_and_save(self, *, final: bool) -> None:
        """Validate and save at the steps that the options name, and at the end."""
        step, training = self.trainer.step, self.trainer.training
        if step == training.steps or step % training.validate_every == 0:
            self.validate()
        if final or step % training.checkpoint_every == 0:
            self.save(self.out / "last")
            if self.trainer.world.is_main:
                save_training(self.out / "last", self.trainer.state_dict())
            self.trainer.world.barrier()

    def validate(self) -> None:
        """Evaluate the averaged weights on the validation split; save the best ones that hold the rate."""
        trainer = self.trainer
        model = trainer.averaged_model
        bounds = evaluate_bound(
            model,
            self.data.validation,
            seed=trainer.seed,
            world=trainer.world,
            max_images=trainer.training.validation_images,
        )
        held = trainer.objective.is_held(bounds.kl)
        if held and bounds.elbo > trainer.best_elbo:
            trainer.best_elbo = bounds.elbo
            self.save(self.out / "best")
        elif not held and trainer.best_elbo == -math.inf:
            self.save(self.out / "best")  # so that there is always one, even before the rate is reached
        if model.has_latents and trainer.world.is_main:
            health = latent_health(
                model, self.data.validation, seed=trainer.seed, device=trainer.world.device, max_images=HEALTH_IMAGES
            )
            self.observer.on_health(trainer.step, health)
            if health.is_dead and trainer.step > trainer.objective.warmup_steps:
                self.log(_warning(trainer.step, health, bounds.kl, trainer.objective))
        self.observer.on_validation(trainer.step, model, bounds)

    def save(self, folder: Path) -> None:
        """Save the averaged weights as a checkpoint."""
        if self.trainer.world.is_main:
            save_model(folder, self.trainer.averaged_model, self.config, self.trainer.progress)

    def announcement(self) -> str:
        """One line: model, data, devices, precision and checkpoint folder."""
        trainer, training = self.trainer, self.trainer.training
        parameters = sum(p.numel() for p in trainer.model.parameters())
        precision = resolve_precision(training.precision, trainer.world.device)
        compiled = "torch.compile (its first step takes up to a minute)" if training.compiles() else "eager"
        return (
            f"{type(trainer.model).__name__}, {parameters:,} parameters, {len(self.data.train):,} training images, "
            f"{trainer.world.size} x {trainer.world.device}, {precision}, {compiled}; checkpoints in {self.out}"
        )


def _postfix(record: StepRecord) -> str:
    kl = float(record.kl_groups.sum())
    return (
        f"ELBO {record.log_px - kl:.2f} nats, log p(x|h) {record.log_px:.2f}, KL {kl:.2f}, "
        f"{record.images_per_second:.0f} images/s"
    )


def _warning(step: int, health: Health, kl: float, objective: Objective) -> str:
    """A warning that the latents are dead, with the numbers and remedies."""
    nats, cap_nats, _ = health.mutual_information
    if objective.rate is None:
        why = "The decoder ignores them"
        advice = "objective.rate (nats to hold), objective.free_bits or a longer objective.warmup_steps"
    elif kl < objective.rate / 2:
        why = f"objective.rate={objective.rate:g} has not activated them yet; its β must fall below 0 first"
        advice = "more train.steps"
    else:
        why = f"objective.rate={objective.rate:g} holds the KL, but q(h|x) is nearly the same for every x"
        advice = "another objective.rate, or objective.warmup_steps or free_bits in its place"
    return (
        f"Warning: at step {step:,} the latents are dead: {health.num_active} of {len(health.active)} are active, "
        f"mutual information {nats:.3f} nats (the estimate is at most {cap_nats:.1f}), KL {kl:.2f} nats. {why}. "
        f"Try {advice}, or a smaller receptive field (decoder.receptive_field, fewer decoder.num_layers)"
    )
