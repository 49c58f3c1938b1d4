"""Information from a rate alone, with a decoder that ignores its latents: ``python scripts/rate_without_decoder.py``.

The likelihood has no gradient for the latents, so all of their information about x comes from the objective.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal
from unittest.mock import patch

import jsonargparse
import torch
from tqdm import tqdm

from pixelvae import (
    Categorical,
    ConvEncoder,
    Factorised,
    FlowPrior,
    HierarchicalPrior,
    MNIST5k,
    PixelVAE,
    SpatialContext,
    StandardNormal,
    VampPrior,
)
from pixelvae.data import Batches, BatchKey
from pixelvae.distributed import World
from pixelvae.evaluation.information import effective_rank, encode_split, means_of, mutual_information
from pixelvae.models.pixelvae import PriorFactory
from pixelvae.reporting.provenance import command_line, environment
from pixelvae.storage import write_json
from pixelvae.training import multiplier, objective, trainer
from pixelvae.training.multiplier import Multiplier
from pixelvae.training.objective import Objective
from pixelvae.training.options import TrainingOptions
from pixelvae.training.trainer import Trainer

PRIORS: dict[str, PriorFactory] = {
    "StandardNormal": StandardNormal,
    "FlowPrior": FlowPrior,
    "VampPrior": VampPrior,
    "HierarchicalPrior": HierarchicalPrior,
}
Estimate = Literal["both", "lower bound", "upper bounds"]
SHARES = {"both": objective.VERIFIABLE_SHARE, "lower bound": math.inf, "upper bounds": -math.inf}
"""Share of its cap up to which the lower bound is rewarded, by the name of the estimate."""

CONSTANTS: dict[str, list[tuple[object, str]]] = {
    "INITIAL_BETA": [(Multiplier, "INITIAL_BETA"), (objective, "MIN_WEIGHT"), (trainer, "MIN_WEIGHT")],
    "MAX_CHANGE": [(Multiplier, "MAX_CHANGE")],
    "DAMPING": [(Multiplier, "DAMPING")],
    "RATE_TOLERANCE": [(multiplier, "RATE_TOLERANCE")],
    "NUM_OTHERS": [(objective, "NUM_OTHERS")],
    "VERIFIABLE_SHARE": [(objective, "VERIFIABLE_SHARE")],
}
"""Where each constant of a rate is."""

BATCH_SIZE, LATENT_DIM, IMAGES = 64, 32, 3000


def main(
    out: Path = Path("results/rate_without_decoder.json"),
    steps: int = 500,
    rates: tuple[float, ...] = (4.0, 20.0),
    seeds: tuple[int, ...] = (0, 1, 2),
    priors: tuple[str, ...] = tuple(PRIORS),
    estimate: Estimate = "both",
    constants: dict[str, float] | None = None,
) -> None:
    """Train encoder and prior under a rate, and write the information in the latents.

    Rows of other priors, rates and seeds stay in the file.

    Args:
        out: Output file.
        steps: Number of updates of a run.
        rates: Rates (KL) in nats.
        seeds: Seeds of the weights, the data order and the noise.
        priors: Names of priors.
        estimate: The rewarded estimate of the information; ``both`` is that of training, the others are ablations.
        constants: Other values of the constants of a rate, such as '{"DAMPING": 0}': an ablation.

    Raises:
        ValueError: If a name is not one of the constants.
    """
    constants = constants or {}
    if unknown := set(constants) - set(CONSTANTS):
        raise ValueError(f"constants: {', '.join(sorted(unknown))}; wanted names among {', '.join(CONSTANTS)}")
    kept = json.loads(out.read_text())["rows"] if out.is_file() else []
    rows = {key(row): row for row in kept}
    for case in itertools.product(rates, priors, seeds):
        with changed({"VERIFIABLE_SHARE": SHARES[estimate]} | constants):
            row = {"estimate": estimate, "constants": constants, **measure(*case, steps)}
        rows[key(row)] = row
        write_json(out, {"rows": [rows[name] for name in sorted(rows)]})  # nothing computed is lost
    print(f"Written to {out}")


def key(row: dict[str, Any]) -> tuple[Any, ...]:
    """The settings of a row, which no other row has."""
    constants = json.dumps(row.get("constants", {}), sort_keys=True)
    return row["estimate"], constants, row["rate_nats"], row["prior"], row["seed"]


@contextmanager
def changed(constants: dict[str, float]) -> Iterator[None]:
    """Other values of the constants of a rate."""
    with ExitStack() as stack:
        for name, value in constants.items():
            for place in CONSTANTS[name]:
                stack.enter_context(patch.object(*place, int(value) if name == "NUM_OTHERS" else value))
        yield


def measure(rate: float, prior: str, seed: int, steps: int) -> dict[str, Any]:
    """One run: KL, mutual information and effective rank on 3,000 training digits."""
    data = MNIST5k(levels=2)
    torch.manual_seed(seed)
    model = PixelVAE(
        data.spec._replace(num_classes=()),
        likelihood=Categorical,
        decoder=Factorised,
        encoder=partial(ConvEncoder, channels=(16, 32)),
        prior=PRIORS[prior],
        context=partial(SpatialContext, channels=(8, 8)),
        latent_dim=LATENT_DIM,
    )
    for parameter in model.context.parameters():
        parameter.requires_grad_(False).zero_()  # its map is 0 for every h
    options = TrainingOptions(steps=steps, batch_size=BATCH_SIZE, compile="never", precision="float32")
    training = Trainer(model, options, Objective(rate=rate), World(torch.device("cpu")), seed=seed)
    generator = torch.Generator().manual_seed(seed)

    def others() -> tuple[torch.Tensor, torch.Tensor]:
        return data.train[
            BatchKey(torch.randint(len(data.train), (objective.NUM_OTHERS,), generator=generator), training.step)
        ]

    keys, kl = iter(Batches(len(data.train), BATCH_SIZE, seed=seed)), []
    for _ in tqdm(range(steps), desc=f"{prior}, rate {rate:g}, seed {seed}", leave=False):
        measured = training.update(*data.train[next(keys)], others)
        kl.append(float(training.read([measured], since=0.0)[0].kl_groups.sum()))
    batches = encode_split(training.averaged_model, data.train, device=torch.device("cpu"), max_images=IMAGES)
    found = mutual_information(batches, seed=0)
    row = {
        "prior": prior,
        "rate_nats": rate,
        "seed": seed,
        "kl_nats_of_last_100_steps": sum(kl[-100:]) / len(kl[-100:]),
        "mutual_information_nats": found.nats,
        "mutual_information_cap_nats": found.cap_nats,
        "effective_rank": effective_rank(means_of(batches)),
        "steps": steps,
        "command": command_line(),
        "environment": environment(),
    }
    print(row, flush=True)
    return row


if __name__ == "__main__":
    jsonargparse.auto_cli(main)
