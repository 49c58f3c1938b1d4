"""The library interface: train and evaluate models in a few lines, without a configuration file."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pixelvae.checkpoint import Progress, checkpoint_name, is_run, load_weights
from pixelvae.data.splits import DataSet, Split
from pixelvae.distributed import World, connect
from pixelvae.evaluation.bounds import (
    Bounds,
    ImportanceWeighted,
    bits_per_dim,
    evaluate_bound,
    evaluate_importance_weighted,
)
from pixelvae.models.assembly import ConfigurationError, configuration, described, plain
from pixelvae.models.base import GenerativeModel
from pixelvae.training import loop
from pixelvae.training.objective import Objective
from pixelvae.training.options import TrainingOptions


class Run(NamedTuple):
    """The result of ``fit``.

    Attributes:
        model: The averaged weights of the last step, without gradients, as a loaded model is.
        folder: The folder with the checkpoints ``best`` and ``last``, and the TensorBoard events.
        progress: Steps, images and seconds, including those before a resumption.
        interrupted: Whether Ctrl-C or a signal ended the run early; ``resume=True`` continues it.
    """

    model: GenerativeModel
    folder: Path
    progress: Progress
    interrupted: bool

    def __repr__(self) -> str:
        step, images, seconds, seed = self.progress
        end = "interrupted at" if self.interrupted else "finished at"
        return (
            f"Run({self.folder}, {end} step {step:,}: {images:,} images in {seconds:.0f} s, seed {seed}; "
            f"best weights: pixelvae.load({str(self.folder)!r}))"
        )


class Evaluation(NamedTuple):
    """The bounds of a model on a split, means over the examples in nats.

    Attributes:
        bounds: E_q[log p(x|h)] and the KL, of which ``elbo`` is the difference; the exact log p(x) without latents.
        importance_weighted: The tighter bound, if ``num_samples`` > 0; else None.
        has_latents: Whether the model has latents, and so a KL.
    """

    bounds: Bounds
    importance_weighted: ImportanceWeighted | None
    has_latents: bool

    @property
    def nats(self) -> float:
        """The evidence lower bound, or without latents log p(x), in nats per example."""
        return self.bounds.elbo

    @property
    def stderr(self) -> float:
        """Standard error of ``nats`` over the examples."""
        return self.bounds.stderr

    @property
    def kl(self) -> float:
        """KL(q(h|x) ‖ p(h)) in nats per example."""
        return self.bounds.kl

    @property
    def bits_per_dim(self) -> float:
        """−nats / (ln 2 · number of dimensions)."""
        return bits_per_dim(self.bounds.elbo, self.bounds.num_dims)

    def __repr__(self) -> str:
        relation = ">=" if self.has_latents else "="
        text = f"log p(x) {relation} {self.nats:.2f} ± {self.stderr:.2f} nats, {self.bits_per_dim:.3f} bits/dim"
        if self.has_latents:
            text += f"; log p(x|h) {self.bounds.log_px:.2f}, KL {self.kl:.2f} nats"
        if self.importance_weighted is not None:
            found = self.importance_weighted
            text += f"; with {found.num_samples} samples >= {found.log_px:.2f} ± {found.stderr:.2f} nats"
        return f"Evaluation({self.bounds.num_images:,} examples: {text})"


def fit(
    model: GenerativeModel,
    data: DataSet,
    out: str | Path,
    *,
    objective: Objective | None = None,
    seed: int = 0,
    device: str = "auto",
    init_from: str | Path | None = None,
    resume: bool | Literal["auto"] = False,
    resume_changed: bool = False,
    config: Mapping[str, Any] | None = None,
    tensorboard: bool = True,
    progress: bool = True,
    **training: Any,
) -> Run:
    """Train a model; ``load`` and all commands open the checkpoints in its folder.

    Args:
        model: Its weights are updated in place, without averaging; the averaged weights are returned and saved.
        data: Training uses ``train``, selection of the best weights ``validation``; ``test`` is never read.
        out: The run's folder.
        objective: The training objective; by default the evidence lower bound.
        seed: Seed of data order and noise. The initial weights have a seed of their own.
        device: cpu, cuda, cuda:1, mps ...; auto is the accelerator, or the CPU where there is none.
        init_from: A run or checkpoint with initial weights, for fine-tuning.
        resume: Continue exactly from ``out/last``; ``auto`` resumes if there is a run, else starts one.
        resume_changed: Accept options or data that differ from the run's; ``out/history.json`` lists them.
        config: Additional entries of the checkpoints' config.yaml; they override those of the same name.
        tensorboard: Whether to write curves and pictures for ``tensorboard --logdir OUT``.
        progress: Whether to show a progress bar.
        **training: Options of :class:`TrainingOptions`, such as ``steps`` and ``batch_size``.

    Raises:
        ValueError: If an option is unknown or out of range, the model and the data do not match, or a checkpoint
            cannot represent a part of the model.
        CheckpointError: If there is no checkpoint to resume from, or the weights of ``init_from`` do not match.
        TrainingDivergedError: If the loss is not finite.
    """
    out, options, objective = Path(out), _options(training), objective or Objective()
    _require_fit(model, data)
    if init_from is not None and not is_run(out):
        load_weights(model, init_from)
    origin = {} if init_from is None else {"init_from": checkpoint_name(init_from)}
    resolved = _resolved(model, data, options, objective, out, seed, device) | origin | dict(config or {})
    resolved = plain(resolved, "config")
    world = connect(device)
    with _observer(out, data, resolved, enabled=tensorboard and world.is_main) as observer:
        fitted = loop.fit(
            model.train(),
            data,
            options,
            objective,
            out=out,
            config=resolved,
            seed=seed,
            world=world,
            resume=resume,
            resume_changed=resume_changed,
            observer=observer,
            progress=progress,
        )
    world.close()
    return Run(fitted.model.freeze(), out, fitted.progress, fitted.interrupted)


def evaluate(
    model: GenerativeModel,
    split: Split,
    *,
    num_samples: int = 0,
    seed: int = 0,
    batch_size: int | None = None,
    max_images: int | None = None,
    progress: bool = False,
) -> Evaluation:
    """The bounds of a model on a split of the same shape, levels and labels, in nats, with standard errors.

    Args:
        model: A model on any device.
        split: Usually ``data.test``.
        num_samples: Draws of h per example for the importance-weighted bound; 0 omits that bound.
        seed: Seed of the noise.
        batch_size: Examples per batch; by default 250, fewer for examples with more sites than a 32x32 image.
        max_images: Maximum number of examples, spread over the split; None for all.
        progress: Whether to show a progress bar.

    Raises:
        ValueError: If the data of the split do not match the model, or an argument is out of range.

    Example:
        >>> import numpy as np
        >>> from pixelvae import AutoregressiveModel, TensorData
        >>> data = TensorData(np.zeros((20, 1, 4, 4), np.uint8), levels=2)
        >>> result = evaluate(AutoregressiveModel.default(data.spec), data.test)
        >>> result.bounds.num_images, result.kl
        (2, 0.0)
    """
    if isinstance(split, DataSet):
        raise ValueError(f"{type(split).__name__} has three splits; choose one, such as data.test")
    world, was_training = World(model.device), model.training
    given: dict[str, Any] = {"seed": seed, "world": world, "batch_size": batch_size, "max_images": max_images}
    model.eval()
    try:
        bounds = evaluate_bound(model, split, progress=progress, **given)
        tighter = None
        if num_samples:
            tighter = evaluate_importance_weighted(model, split, num_samples=num_samples, progress=progress, **given)
    finally:
        model.train(was_training)
    return Evaluation(bounds, tighter, model.has_latents)


def _options(training: Mapping[str, Any]) -> TrainingOptions:
    """Make the options of training; for an unknown one, the error suggests the nearest name."""
    names = [field.name for field in dataclasses.fields(TrainingOptions)]
    for name in training:
        if name not in names:
            nearest = difflib.get_close_matches(name, names, n=1)
            advice = f"did you mean {nearest[0]}?" if nearest else f"wanted {', '.join(names)}"
            raise ValueError(f"fit has no option {name}; {advice}")
    return TrainingOptions(**training)


def _require_fit(model: GenerativeModel, data: DataSet) -> None:
    """Raise ValueError unless the model and the data have the same spec."""
    if not isinstance(data, DataSet):
        raise ValueError(f"data is {type(data).__name__}; wanted a data set: pixelvae.TensorData(images, levels=256)")
    has, wants = data.spec, model.spec
    if has[:2] != wants[:2] or (wants.num_classes and has.num_classes != wants.num_classes):
        raise ValueError(f"the data are {has.summary}; the model wants {wants.summary}: build it from data.spec")


def _resolved(
    model: GenerativeModel,
    data: DataSet,
    options: TrainingOptions,
    objective: Objective,
    out: Path,
    seed: int,
    device: str,
) -> dict[str, Any]:
    """The configuration of a run, with the options of ``pixelvae train``."""
    return configuration(model, {"data": _described_data(data)}) | {
        "train": dataclasses.asdict(options),
        "objective": dataclasses.asdict(objective),
        "out": out,
        "seed": seed,
        "device": device,
    }


def _described_data(data: DataSet) -> dict[str, Any]:
    """The configuration entry of a data set; without its arguments if YAML cannot represent them."""
    try:
        return described(partial(type(data), **data.init_args), "data")
    except ConfigurationError:
        return described(type(data), "data")


@contextmanager
def _observer(out: Path, data: DataSet, config: dict[str, Any], *, enabled: bool) -> Iterator[loop.Observer]:
    """A TensorBoard observer, closed at the end."""
    if not enabled:
        yield loop.Observer()
        return
    from pixelvae.reporting.tensorboard import TensorBoardObserver  # imported here because TensorBoard takes a second

    observer = TensorBoardObserver(out, data, config)
    try:
        yield observer
    finally:
        observer.close()
