"""The warning of a run whose latents are dead."""

from __future__ import annotations

from pixelvae.evaluation.information import Health
from pixelvae.training.objective import Objective


def warning(step: int, health: Health, kl: float, objective: Objective) -> str:
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
