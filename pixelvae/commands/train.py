"""Train a model: ``pixelvae train mnist5k/pixelvae --out runs/mine``."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Sequence
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any, Literal

import torch
import yaml
from jsonargparse import ArgumentParser

from pixelvae.checkpoint import (
    CheckpointError,
    checkpoint_name,
    is_run,
    load_config,
    load_progress,
    load_weights,
)
from pixelvae.commands.checkpoints import find_checkpoint
from pixelvae.commands.configs import find_config, listing, read_config
from pixelvae.commands.parsing import check_classes, make_parser, options_in, parse
from pixelvae.commands.trust import trusted
from pixelvae.data import DataSet
from pixelvae.distributed import connect
from pixelvae.models.assembly import assemble
from pixelvae.models.base import ContextFactory, DecoderFactory, GenerativeModel, LikelihoodFactory
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
    resume: bool | Literal["auto"] = False,
    resume_changed: bool = False,
    init_from: Path | None = None,
    *,
    config: dict[str, Any],
) -> None:
    """Train a PixelVAE, or with ``encoder: null`` an autoregressive model without latents.

    CONFIG is a shipped configuration, such as mnist5k/pixelvae (see --list), or a YAML file. It chooses the classes and
    their options; options after it override its values, such as --decoder.num_layers 5.

    Args:
        data: The data set.
        likelihood: p(x_t | params_t) of one site.
        decoder: The autoregressive network.
        encoder: The posterior q(h|x); null for a model without latents.
        prior: p(h); null for a model without latents.
        context: The module that maps latents and labels to the context of the decoder.
        train: Optimizer, schedule, precision and checkpoints.
        objective: The training objective.
        out: The run's folder, for checkpoints and TensorBoard.
        latent_dim: Width of h; 0 for a model without latents.
        class_conditional: Whether the model is conditioned on the labels.
        seed: Seed of the initial weights, the order of the data and all noise.
        device: cpu, cuda, cuda:1, mps ...; auto is the accelerator, or the CPU where there is none.
        resume: Continue exactly from OUT/last; auto resumes if there is a run, else starts one.
        resume_changed: Accept a configuration that differs from the run's; OUT/history.json lists the changes.
        init_from: A checkpoint, a run or a published model whose weights a new run starts from (fine-tuning).
        config: The resolved configuration, kept with the checkpoints (filled in by the command line).
    """
    world = connect(device)
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
    config = start_from(model, init_from, out, config, announce=world.is_main)
    with closing(TensorBoardObserver(out, data, config)) if world.is_main else nullcontext() as observer:
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
            resume_changed=resume_changed,
            observer=observer,
        )
    world.close()
    if world.is_main:
        report_next_steps(fitted, out)


def start_from(
    model: GenerativeModel, init_from: Path | None, out: Path, config: dict[str, Any], *, announce: bool = True
) -> dict[str, Any]:
    """Copy the weights of a checkpoint into the model of a new run; a resumed run has its own.

    Args:
        model: The model, changed in place.
        init_from: A checkpoint, a run or a published model; None for the initial weights.
        out: The run's folder.
        config: The run's configuration.
        announce: Whether to print which weights were copied.

    Returns:
        The configuration with the name or folder of the checkpoint, or without ``init_from``.

    Raises:
        CheckpointError: If there is no such checkpoint, or its weights do not fit the model.
    """
    if init_from is None:
        return {name: value for name, value in config.items() if name != "init_from"}
    if is_run(out):
        return config | {"init_from": checkpoint_name(init_from)}
    try:
        checkpoint = find_checkpoint(init_from)
        load_weights(model, checkpoint)
    except CheckpointError as error:
        raise CheckpointError(f"--init_from: {error}") from error
    if announce:
        print(f"Starts from {checkpoint}, step {load_progress(checkpoint).step:,}")
    return config | {"init_from": checkpoint_name(init_from)}


def report_next_steps(fitted: Fitted, out: Path) -> None:
    """Print the folder of the results and the next steps.

    Raises:
        SystemExit: If a signal ended training, with 128 + its number, so that ``train && evaluate`` stops.
    """
    progress = fitted.progress
    checkpoints = [f"{out}/{name}" for name in ("best", "last") if (out / name).is_dir()]
    print(
        f"{progress.images_seen:,} images in {progress.train_seconds:.0f} s. Checkpoints: {' and '.join(checkpoints)}."
    )
    print(f"Next: pixelvae evaluate {checkpoints[0]}; tensorboard --logdir {out}")
    if fitted.interrupted:
        print(f"Stopped at step {progress.step} and saved; continue with the same command and --resume")
    if fitted.signal is not None:
        raise SystemExit(128 + fitted.signal)


def parser(prog: str | None = None) -> ArgumentParser:
    """The parser for the signature of ``main``; YAML chooses classes, flags override their options."""
    options = make_parser(prog, main, "CONFIG [options]")
    options.add_argument("--config", action="config", help="A shipped configuration by its name, or any YAML file.")
    options.add_argument("--trust", type=str | None, help="Modules, separated by commas, whose classes may be named.")
    options.add_argument("--list", action="store_true", help="List the shipped configurations.")
    options.add_function_arguments(main, skip={"config"})
    return options


def run(args: Sequence[str] | None = None, prog: str | None = None) -> None:
    """Parse a command line (this process's own by default) and train.

    Raises:
        ValueError: If the command line is not a valid run.
    """
    arguments = list(sys.argv[1:] if args is None else args)
    if "--list" in arguments:
        print(listing())
        return
    options = parser(prog)
    words = with_configs(arguments)
    try:
        parsed = parse(options, words)
    except ValueError as error:
        if any(word.startswith("--config=") for word in words) or "missing" not in str(error):
            raise
        raise ValueError(f"{error}; name a configuration, such as mnist5k/pixelvae (--list names all)") from error
    dumped = yaml.safe_load(options.dump(parsed))  # omits null values
    names = [name for name in inspect.signature(main).parameters if name != "config"]
    instances = options.instantiate(parsed)
    main(**{name: instances[name] for name in names}, config={name: dumped.get(name) for name in names})


def with_configs(arguments: Sequence[str]) -> list[str]:
    """Replace configurations by ``--config=FILE``, and check the content of these files.

    Raises:
        ValueError: If there is no such configuration, or it or an option names an unknown class.
    """
    words: list[str] = []
    classes = trusted(",".join(value for name, value, _ in options_in(arguments) if name == "trust"))
    for name, value, given in options_in(arguments):
        if name == "config" or (not name and not words):
            file = find_config(value)
            check_classes(read_config(file, list(inspect.signature(main).parameters)), f"{file}: ", classes)
            words.append(f"--config={file}")
        else:
            check_classes({name.removesuffix(".class_path"): value}, "--", classes)
            words += given
    return words


def run_or_resume(config: str | Path, out: Path, *options: str) -> None:
    """Train a configuration, or resume the run in ``out``; ``options`` are further flags."""
    resume = ["--resume=true"] if is_run(out) else []
    run(["--config", str(find_config(config)), "--out", str(out), *options, *resume])


def run_to_end(config: Path, out: Path, steps: int, device: str, *options: str) -> None:
    """Train a configuration for ``steps``, or finish an interrupted run; do nothing for a finished one.

    Raises:
        ValueError: If the folder contains a run of another number of steps.
        SystemExit: If training is interrupted.
    """
    if is_run(out):
        planned = load_config(out / "last")["train"]["steps"]
        if planned != steps:
            raise ValueError(f"{out} holds a run of {planned} steps, wanted {steps}; choose another --runs")
        if load_progress(out / "last").step == steps:
            return
    run_or_resume(config, out, f"--train.steps={steps}", f"--device={device}", *options)
    if load_progress(out / "last").step < steps:
        raise SystemExit("Interrupted; the same command continues")
