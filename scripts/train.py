"""Train a model: ``python scripts/train.py --config configs/mnist5k/pixelvae.yaml --out runs/mine``."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jsonargparse
import torch
import yaml

import pixelvae  # noqa: F401 (its public classes become choices of the options)
from pixelvae.data import DataSet
from pixelvae.distributed import connect
from pixelvae.models.assembly import assemble
from pixelvae.models.base import ContextFactory, DecoderFactory, LikelihoodFactory
from pixelvae.models.pixelvae import EncoderFactory, PriorFactory
from pixelvae.reporting.tensorboard import TensorBoardObserver
from pixelvae.training.loop import Fitted, fit
from pixelvae.training.objective import Objective
from pixelvae.training.options import TrainingOptions


def main(
    data: DataSet,
    likelihood: LikelihoodFactory,
    decoder: DecoderFactory,
    encoder: EncoderFactory | None,
    prior: PriorFactory | None,
    context: ContextFactory,
    train: TrainingOptions,
    objective: Objective,
    out: Path,
    latent_dim: int = 32,
    class_conditional: bool = False,
    seed: int = 0,
    device: str = "auto",
    resume: bool = False,
    *,
    config: dict[str, Any],
) -> None:
    """Train a PixelVAE, or with ``encoder: null`` the same decoder without latents.

    Args:
        data: The data set.
        likelihood: p(x_t | params_t) of one site.
        decoder: The autoregressive network.
        encoder: The posterior q(h|x); null for a model without latents.
        prior: p(h); null for a model without latents.
        context: How latents and labels become what conditions the decoder.
        train: How to train.
        objective: What training maximises.
        out: The run's folder, for checkpoints and TensorBoard.
        latent_dim: Width of h; 0 for a model without latents.
        class_conditional: Whether the model is told the labels.
        seed: Of the initial weights, the order of the data and all noise.
        device: auto, cpu, cuda, or any other that torch knows.
        resume: Go on from OUT/last, exactly.
        config: The resolved configuration, kept with the checkpoints (filled in by the command line).
    """
    world = connect(device)
    if (out / "last").exists() and not resume:
        raise ValueError(f"out={out} already holds a run; add --resume to go on with it, or choose another --out")
    torch.manual_seed(seed)  # initial weights: torch.nn takes no generator
    model = assemble(
        data.spec,
        likelihood=likelihood,
        decoder=decoder,
        encoder=encoder,
        prior=prior,
        context=context,
        latent_dim=latent_dim,
        class_conditional=class_conditional,
    )
    observer = TensorBoardObserver(out, data, config, resume=resume) if world.is_main else None
    fitted = fit(
        model,
        data,
        train,
        objective,
        out=out,
        config=config,
        seed=seed,
        world=world,
        resume=resume,
        observer=observer,
    )
    if observer:
        observer.close()
    if world.is_main:
        report(fitted, out)
    world.close()


def report(fitted: Fitted, out: Path) -> None:
    """Say where the results are and what to do next."""
    progress = fitted.progress
    print(f"{progress.images_seen:,} images in {progress.train_seconds:.0f} s. Checkpoints: {out}/best and {out}/last.")
    print(f"Next: python scripts/evaluate.py {out}/best; tensorboard --logdir {out}")
    if fitted.interrupted:
        print(f"Stopped at step {progress.step} and saved; go on with the same command and --resume true")


def parser() -> jsonargparse.ArgumentParser:
    """The options of ``main``, from its signature; YAML chooses classes, flags change their leaves."""
    options = jsonargparse.ArgumentParser(description=__doc__)
    options.add_argument("--config", action="config", help="YAML file with any of these options")
    options.add_function_arguments(main, skip={"config"})
    return options


def run(arguments: Sequence[str] | None = None) -> None:
    """Parse a command line (this process's own by default) and train."""
    options = parser()
    parsed = options.parse_args(arguments)
    dumped = yaml.safe_load(options.dump(parsed))  # leaves out what is null
    names = [name for name in inspect.signature(main).parameters if name != "config"]
    instances = options.instantiate(parsed)
    main(**{name: instances[name] for name in names}, config={name: dumped.get(name) for name in names})


if __name__ == "__main__":
    run()
