"""Messages of a training run: first line, progress, divergence, dead latents."""

from __future__ import annotations

from pathlib import Path

from pixelvae.checkpoint import load_progress
from pixelvae.data.splits import DataSet
from pixelvae.distributed import resolve_precision
from pixelvae.evaluation.information import Health
from pixelvae.training.objective import Objective
from pixelvae.training.trainer import StepRecord, Trainer, TrainingDivergedError


def announcement(trainer: Trainer, data: DataSet, out: Path) -> str:
    """One line: model, data, devices, precision and checkpoint folder."""
    training, world = trainer.training, trainer.world
    parameters = sum(p.numel() for p in trainer.model.parameters())
    precision = resolve_precision(training.precision, world.device)
    compiled = "torch.compile (its first step takes up to a minute)" if training.compiles(world.device) else "eager"
    return (
        f"{type(trainer.model).__name__}, {parameters:,} parameters, {len(data.train):,} training images, "
        f"{world.size} x {world.device}, {precision}, {compiled}; checkpoints in {out}"
    )


def postfix(record: StepRecord) -> str:
    """The suffix of the progress bar."""
    kl = float(record.kl_groups.sum())
    return (
        f"ELBO {record.log_px - kl:.2f} nats, log p(x|h) {record.log_px:.2f}, KL {kl:.2f}, "
        f"{record.images_per_second:.0f} images/s"
    )


def diverged(reason: str, out: Path, last: str) -> TrainingDivergedError:
    """The error for a diverged run, with its checkpoints and remedies; ``last`` describes the last one."""
    good = []
    for name, what in (("best", "the best by validation"), ("last", last)):
        if (out / name).is_dir():
            good.append(f"{out / name} (step {load_progress(out / name).step:,}) is {what}")
    return TrainingDivergedError(
        f"{reason}; {', '.join(good) or 'there is no checkpoint yet'}. Start anew with a lower "
        "train.learning_rate, a smaller train.clip_norm, more train.lr_warmup_steps, or train.precision: float32"
    )


def dead_latents(step: int, health: Health, kl: float, objective: Objective) -> str:
    """A warning that the latents are dead, with measurements and remedies."""
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
