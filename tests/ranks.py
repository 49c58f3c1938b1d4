"""Run by two processes: every model trains and is evaluated as by one process with the double batch.

``torchrun --nproc-per-node=2 ranks.py OUT`` writes OUT/differences.json, the largest ones by the name of the case; the
same short run of both processes and of one, OUT/two and OUT/one; and OUT/stopped.json, see :func:`stopped`.
"""

import copy
import json
import math
import os
import signal
import sys
from functools import partial
from pathlib import Path

import torch

from families import DECODERS, PRIORS, SMALL_CNN
from pixelvae import AutoregressiveModel, Categorical, ConvEncoder, DataSpec, PixelVAE, StandardNormal, VectorContext
from pixelvae.data.splits import BatchKey, Split
from pixelvae.distributed import World, connect
from pixelvae.evaluation.bounds import evaluate_bound, evaluate_importance_weighted
from pixelvae.training.loop import Observer, fit
from pixelvae.training.objective import Objective
from pixelvae.training.options import TrainingOptions
from pixelvae.training.trainer import Trainer
from small_runs import CONFIG, small_data, small_model

ALONE = World(torch.device("cpu"))
JOINT_BATCH, STEPS = 4, 2
SPEC = DataSpec((1, 4, 5), 2)
OBJECTIVES = {
    "warmup": Objective(warmup_steps=4),
    "free_bits": Objective(free_bits=0.05),
    "rate": Objective(rate=3.0),
    "consistency": Objective(consistency=1.0),
}


class Levels(Split):
    """Random levels, the same in every process."""

    def __init__(self, spec, size=10):
        self.spec = spec
        self.x = torch.randint(spec.levels, (size, *spec.shape), generator=torch.Generator().manual_seed(0))

    def __len__(self):
        return len(self.x)

    def __getitem__(self, key):
        return self.x[key.indices], self.x.new_zeros(len(key.indices), 0)


def plain(case):
    """A decoder without latents."""
    return AutoregressiveModel(case.spec, likelihood=Categorical, decoder=case.make, context=VectorContext)


def vae(prior=StandardNormal):
    """A PixelVAE with four latents."""
    parts = {"likelihood": Categorical, "encoder": partial(ConvEncoder, channels=(3,)), "context": VectorContext}
    return PixelVAE(SPEC, latent_dim=4, decoder=partial(SMALL_CNN, num_layers=2), prior=prior, **parts)


def cases():
    """Name: a model, and the objective of its training."""
    yield from ((f"decoder {case.name}", partial(plain, case), Objective()) for case in DECODERS)
    for prior, make in PRIORS.items():
        yield from ((f"prior {prior}, {name}", partial(vae, make), objective) for name, objective in OBJECTIVES.items())


def trained(model, world, objective):
    """The averaged weights after some steps on this world's part of each joint batch, and what the steps measured."""
    options = TrainingOptions(batch_size=JOINT_BATCH // world.size, compile="never", lr_warmup_steps=0)
    trainer, split = Trainer(model, options, objective, world, seed=0), Levels(model.spec)
    part = world.share(JOINT_BATCH)
    measured = []
    for step in range(STEPS):
        indices = torch.arange(JOINT_BATCH)[part] + step * JOINT_BATCH
        measured.append(trainer.update(*split[BatchKey(indices, epoch=0)]).values)
    return trainer.averaged_model, torch.stack(measured)


def difference(a, b):
    """Largest relative difference; infinite between numbers that are not finite or not there."""
    differences = [((p - q).abs() / (1 + q.abs())).detach() for p, q in zip(a, b, strict=True)]
    return max(float(d.nan_to_num(math.inf).max()) for d in differences if d.numel())


def evaluated(model, world):
    """The bounds over a split whose last batch is smaller, so that the ranks have unequal parts."""
    split = Levels(model.spec)
    bounds = evaluate_bound(model, split, seed=0, world=world, batch_size=4)
    weighted = evaluate_importance_weighted(model, split, num_samples=3, seed=0, world=world, batch_size=4)
    assert bounds.num_images == weighted.num_images == len(split)
    return [
        torch.tensor([bounds.log_px, *bounds.kl_groups.tolist(), bounds.num_dims, weighted.log_px, weighted.stderr])
    ]


def compare(make, objective, world):
    """Differences between this world and one process: in weights, measurements and bounds."""
    torch.manual_seed(0)
    model = make()
    alone = copy.deepcopy(model)
    (ours, measured), (theirs, expected) = trained(model, world, objective), trained(alone, ALONE, objective)
    return {
        "weights": difference(ours.parameters(), theirs.parameters()),
        "measurements": difference([measured], [expected]),
        "bounds": difference(evaluated(theirs, world), evaluated(theirs, ALONE)),
    }


def small_run(out, world, observer=None, **training):
    """``fit`` on real digits; the joint batch is of 16."""
    options = {"steps": 4, "validate_every": 4, "checkpoint_every": 4} | training
    options = TrainingOptions(batch_size=16 // world.size, compile="never", lr_warmup_steps=0, **options)
    objective = Objective(rate=3.0)
    return fit(
        small_model(), small_data(), options, objective, out=out, config=CONFIG, seed=0, world=world, observer=observer,
        progress=False,
    )  # fmt: skip


class Interrupt(Observer):
    """Ctrl-C after the third step, on rank 0 alone."""

    def on_step(self, record):
        if record.step == 3:
            os.kill(os.getpid(), signal.SIGINT)


def stopped(out, world):
    """The last step of each rank, of a run that is interrupted on one of them."""
    far = {"steps": 40, "validate_every": 40, "checkpoint_every": 40}
    fitted = small_run(out, world, Interrupt(), **far)
    return world.concatenate(torch.tensor([fitted.progress.step])).tolist()


def main(out):
    """Every case, in one pair of processes."""
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    world, out = connect("cpu"), Path(out)
    found = {name: compare(make, objective, world) for name, make, objective in cases()}
    found = {name: {what: float(world.sum(torch.tensor(d))) for what, d in of.items()} for name, of in found.items()}
    small_run(out / "two", world)
    if world.is_main:
        small_run(out / "one", ALONE)
        (out / "differences.json").write_text(json.dumps(found))
    last_steps = stopped(out / "stopped", world)
    if world.is_main:
        (out / "stopped.json").write_text(json.dumps(last_steps))
    world.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
