"""The training loop: fit, with validation, checkpoints and callbacks."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from dataclasses import asdict
from operator import methodcaller
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pixelvae.checkpoint import CheckpointError, Progress, checkpoint_files, load_training
from pixelvae.data.draws import generator
from pixelvae.data.splits import BatchKey, DataSet
from pixelvae.distributed import World
from pixelvae.evaluation.bounds import Bounds, evaluate_bound
from pixelvae.evaluation.information import latent_health
from pixelvae.memory import keep_freed_memory
from pixelvae.models.assembly import configuration, how_to_open
from pixelvae.models.base import GenerativeModel
from pixelvae.progress import tqdm
from pixelvae.ranges import MAX_COUNT, require_count
from pixelvae.storage import replace_folder
from pixelvae.training.batches import training_batches
from pixelvae.training.callbacks import Callbacks, Observer
from pixelvae.training.fallback import Fallback
from pixelvae.training.messages import announcement, dead_latents, postfix
from pixelvae.training.objective import NUM_OTHERS, Objective
from pixelvae.training.options import TrainingOptions
from pixelvae.training.run_folder import Resume, check_changes, fingerprint, only_writer, remember, resumes
from pixelvae.training.signals import AbandonedError, Signals, collected_signals
from pixelvae.training.trainer import StepRecord, Trainer, TrainingDivergedError

HEALTH_IMAGES = 1000
"""Maximum number of validation images for the mutual information of the latents, which is then at most 6.9 nats."""

READ_EVERY = 10
"""Steps between two reads of the measurements on an accelerator, because each read waits for the device."""

AGREE_EVERY = 10
"""Steps between two checks of all ranks whether one of them has received a signal."""


class Fitted(NamedTuple):
    """The result of a run.

    Attributes:
        model: The averaged weights, in evaluation mode.
        progress: Step, images seen and seconds, including those before a resumption.
        interrupted: Whether a signal ended the run early; ``last`` is saved in either case.
        signal: The number of that signal, or None; a command then exits with 128 + signal.
    """

    model: GenerativeModel
    progress: Progress
    interrupted: bool
    signal: int | None = None


def read_interval(device: torch.device) -> int:
    """Steps between two reads of the measurements."""
    return 1 if device.type == "cpu" else READ_EVERY


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
    resume: Resume = False,
    resume_changed: bool = False,
    observer: Observer | None = None,
    progress: bool = True,
) -> Fitted:
    """Train, validate on a schedule, and save the best and the last checkpoint to ``out``.

    Args:
        model: Its weights are updated in place, without averaging; the averaged weights are returned and saved.
        data: Training uses ``train``, selection of the best weights ``validation``; ``test`` is never read.
        training: Optimizer, schedule, precision and checkpoints.
        objective: The training objective.
        out: The run's folder: ``out/best`` and ``out/last`` are checkpoints.
        config: The resolved configuration to save with them; missing parts are described from the model. Its
            ``train``, ``objective`` and ``seed`` are set to those given here.
        seed: Seed of data order and noise. Equal seeds on one machine give bitwise equal runs; on an accelerator this
            needs ``training.deterministic``.
        world: Device, rank and number of processes.
        resume: Continue exactly from ``out/last``; ``auto`` resumes if there is a run, else starts one.
        resume_changed: Accept a configuration or data that differ from the run's; ``out/history.json`` lists changes.
        observer: Callbacks, called on rank 0 only.
        progress: Whether to show a progress bar.

    Raises:
        TrainingDivergedError: If the loss, the weights or a validation are not finite; the message gives the step, the
            finite checkpoints, and remedies.
        CheckpointError: If there is no checkpoint to resume from, or it is damaged.
        RunLockedError: If another process trains into ``out``.
        StorageError: If a checkpoint cannot be written; the previous one remains.
        ValueError: If ``out`` holds a run and ``resume`` is false, or the configurations differ on resuming.
    """
    keep_freed_memory()
    require_count("seed", seed, least=0, most=MAX_COUNT)
    config = configuration(model, config | {"train": asdict(training), "objective": asdict(objective), "seed": seed})
    with only_writer(out) if world.is_main else nullcontext():
        resuming = resumes(out, resume, world)
        trainer = Trainer(model, training, objective, world, seed)
        loop = _Loop(trainer, data, out, config, (observer or Observer()) if world.is_main else Observer())
        changes = loop.resume(accept_changes=resume_changed) if resuming else {}
        if world.is_main:
            remember(out, trainer.step, changes)
        world.barrier()
        try:
            stopped_by = loop.run(progress)
        except TrainingDivergedError as error:
            raise loop.fallback.restored(error) from error
    return Fitted(trainer.averaged_model, trainer.progress, stopped_by is not None, stopped_by)


class _Loop:
    """The state and steps of :func:`fit`: train, validate, save."""

    def __init__(self, trainer: Trainer, data: DataSet, out: Path, config: dict[str, Any], observer: Observer) -> None:
        self.trainer, self.data, self.out, self.config = trainer, data, out, config
        self.notify = Callbacks(observer)
        self.read_every = read_interval(trainer.world.device)
        self.log: Callable[[str], object] = lambda _: None
        self.shows = False
        self.origin = {"data_fingerprint": fingerprint(data), "num_processes": trainer.world.size}
        self.validated, self.fallback = 0, Fallback(out)  # the step of the last scheduled validation
        self.signals = Signals()

    def resume(self, *, accept_changes: bool) -> dict[str, Any]:
        """Load the state of ``out/last``; return the differences from the run's configuration."""
        state = load_training(self.out / "last", self.trainer.world.device)
        try:
            changes = check_changes(self.out, self.config, state, self.origin, accept=accept_changes)
            self.trainer.load_state_dict(state)
            self.validated = int(state.get("validated", self.trainer.step))
        except (KeyError, TypeError, AttributeError, IndexError, RuntimeError) as error:
            reason = str(error).strip().split("\n")[-1].strip()
            raise CheckpointError(f"{self.out / 'last'} does not fit this model: {reason}") from error
        return changes

    def run(self, progress: bool) -> int | None:
        """Update until the last step or a signal; return the signal's number if it ended the run early."""
        trainer, world, last = self.trainer, self.trainer.world, self.trainer.training.steps
        self.shows = progress and world.is_main
        with (
            self.bar() as bar,
            collected_signals() as self.signals,
            training_batches(self.data.train, trainer) as batches,
        ):
            if self.shows:
                self.log = self.notify.log = bar.write
                self.log(announcement(self.trainer, self.data, self.out))
                if advice := how_to_open(self.config):
                    self.log(advice)
            self.notify(methodcaller("on_start", trainer.step))
            saved, stop = trainer.step, False
            if self.is_validation_due():  # the run was stopped before it
                self.validate()
                saved = -1
            while trainer.step < last and not stop:
                records = self.updates(batches)
                for record in records:
                    self.notify(methodcaller("on_step", record))
                bar.update(len(records))
                bar.set_postfix_str(postfix(records[-1]), refresh=False)
                stop = self.stops(bool(self.signals))
                if self.is_validation_due() and not stop:
                    self.validate()
                    stop = bool(self.signals) and world.size == 1
                if trainer.step % trainer.training.checkpoint_every == 0:
                    self.save_last()
                    saved = trainer.step
            if saved != trainer.step:
                self.save_last()
            if trainer.step == last and not self.is_validation_due():
                return None
            self.leave()
            return self.signals.received[0] if self.signals else signal.SIGTERM  # another rank received it

    def bar(self) -> tqdm:
        """The progress bar over all steps, including those before a resumption."""
        options: dict[str, Any] = {"unit": "step", "dynamic_ncols": True, "mininterval": 0.5, "disable": not self.shows}
        return tqdm(total=self.trainer.training.steps, initial=self.trainer.step, **options)

    def stops(self, asked: bool) -> bool:
        """Whether all ranks stop after this step, because some of them received a signal."""
        world = self.trainer.world
        agree = world.size == 1 or self.trainer.step % AGREE_EVERY == 0 or self.is_due()
        return agree and world.any(asked)

    def updates(self, batches: Iterator[tuple[Tensor, Tensor]]) -> list[StepRecord]:
        """Update until the next read."""
        since, measured = time.perf_counter(), [self.trainer.update(*next(batches), self.others)]
        while len(measured) < self.read_every and not self.is_due():
            measured.append(self.trainer.update(*next(batches), self.others))
        return self.trainer.read(measured, since=since)

    def is_validation_due(self) -> bool:
        """Whether the current step has a scheduled validation that has not run yet."""
        step, training = self.trainer.step, self.trainer.training
        return step > 0 and self.validated != step and (step == training.steps or step % training.validate_every == 0)

    def others(self) -> tuple[Tensor, Tensor]:
        """Random training examples of this step, the same on every rank: see :class:`Objective`."""
        source = generator(self.trainer.seed, self.trainer.step, 1)  # apart from the noise of this step
        indices = torch.randint(len(self.data.train), (NUM_OTHERS,), generator=source)
        return self.data.train[BatchKey(indices, epoch=self.trainer.step)]

    def is_due(self) -> bool:
        """Whether to validate or save after this step."""
        return self.is_validation_due() or self.trainer.step % self.trainer.training.checkpoint_every == 0

    def validate(self) -> None:
        """Evaluate the averaged weights on the validation split; save them if best among those that hold the rate.

        In a run of one process a signal aborts the evaluation; the resumed run repeats it.
        """
        trainer = self.trainer
        model, alone = trainer.averaged_model, trainer.world.size == 1
        try:
            with self.signals.abandoning(alone):
                bounds = evaluate_bound(
                    model,
                    self.data.validation,
                    seed=trainer.seed,
                    world=trainer.world,
                    max_images=trainer.training.validation_images,
                )
            if not math.isfinite(bounds.elbo):
                raise TrainingDivergedError(f"at step {trainer.step:,}: the validation bound is {bounds.elbo} nats")
            held = trainer.objective.is_held(bounds.kl)
            if held and bounds.elbo > trainer.best_elbo:
                trainer.best_elbo = bounds.elbo
                self.save("best")
            elif not held and trainer.best_elbo == -math.inf:
                self.save("best")  # ensures a best checkpoint before the rate is reached
            if model.has_latents and trainer.world.is_main:
                with self.signals.abandoning(alone):
                    self.examine(model, bounds)
            self.validated = trainer.step
            if trainer.world.is_main:
                self.fallback.keep(trainer.step, self.files(resumable=True))
            with self.signals.abandoning(alone):
                self.notify(methodcaller("on_validation", trainer.step, model, bounds))
        except AbandonedError:
            self.log(f"Stopping at step {trainer.step:,}; the validation is left to the resumed run")

    def examine(self, model: GenerativeModel, bounds: Bounds) -> None:
        """Measure the information in the latents, and warn if they are dead."""
        trainer = self.trainer
        health = latent_health(
            model, self.data.validation, seed=trainer.seed, device=trainer.world.device, max_images=HEALTH_IMAGES
        )
        self.notify(methodcaller("on_health", trainer.step, health))
        if health.is_dead and trainer.step > trainer.objective.warmup_steps:
            self.log(dead_latents(trainer.step, health, bounds.kl, trainer.objective))

    def leave(self) -> None:
        """Validate at the end of an interrupted run that has no ``best`` checkpoint yet.

        The run is already saved, and an unscheduled validation does not change its state: a resumed run is the same.
        """
        if not self.trainer.world.any(self.trainer.world.is_main and not (self.out / "best").is_dir()):
            return
        scheduled = self.is_validation_due()
        self.log("There is no validated checkpoint yet: validating (press Ctrl-C again to leave without)")
        with suppress(KeyboardInterrupt):
            self.validate()
        if scheduled:
            self.save_last()

    def save_last(self) -> None:
        """Save the averaged weights and the training state in one atomic operation."""
        self.trainer.require_finite_weights()
        self.save("last", resumable=True)
        self.trainer.world.barrier()

    def save(self, name: str, *, resumable: bool = False) -> None:
        """Save the averaged weights as a checkpoint."""
        if self.trainer.world.is_main:
            replace_folder(self.out / name, self.files(resumable=resumable))

    def files(self, *, resumable: bool) -> dict[str, bytes]:
        """The files of a checkpoint of the current step."""
        training = self.trainer.state_dict() | self.origin | {"validated": self.validated} if resumable else None
        return checkpoint_files(self.trainer.averaged_model, self.config, self.trainer.progress, training)
