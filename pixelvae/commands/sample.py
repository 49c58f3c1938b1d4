"""Draw samples from a trained model: ``pixelvae sample runs/demo/best``."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from pixelvae.checkpoint import load
from pixelvae.commands.checkpoints import check_pictures, class_names, device_of, origin, save_with_settings
from pixelvae.commands.trust import trusted
from pixelvae.data import DataSpec
from pixelvae.data.labels import label_combinations
from pixelvae.decoders.base import StepperKind
from pixelvae.distributed import connect
from pixelvae.generation import decode, generators
from pixelvae.reporting.figures import label_texts, samples


def main(
    checkpoint: Path,
    out: Path | None = None,
    num_samples: int | None = None,
    label: int | None = None,
    temperature: float = 1.0,
    seed: int = 0,
    stepper: StepperKind = "auto",
    device: str = "auto",
    trust: str | None = None,
) -> None:
    """Draw h ~ p(h) and x ~ p(x | h, y), and write samples.png and samples.safetensors (x, h, y).

    The ranks of torchrun share the work.

    Args:
        checkpoint: A checkpoint folder, such as runs/demo/best, or a run, whose best checkpoint is taken.
        out: Folder for the picture and the tensors; RUN/pictures by default.
        num_samples: Samples of each class, 10 by default; of a model without labels all samples, 100 by default.
        label: Draw this class only, instead of a row for every class.
        temperature: 1 samples the model, less is more probable, 0 takes the most probable level of every pixel.
        seed: Sample i depends on seed + i (and on its label) alone.
        stepper: How the decoder goes from pixel to pixel: auto takes the fastest there is, full the slow oracle.
        device: cpu, cuda, cuda:1, mps ...; auto is the accelerator, or the CPU where there is none.
        trust: Modules, separated by commas, whose classes the checkpoint may name, such as a decoder of your own.
    """
    if num_samples is not None and num_samples < 1:
        raise ValueError(f"num_samples={num_samples}; wanted at least 1")
    world = connect(device)
    model = load(checkpoint, device=world.device, classes=trusted(trust))
    check_pictures(checkpoint, model)
    rows = labels_of_rows(model.spec, label)  # (R, L)
    columns = num_samples or (10 if rows.shape[1] else 100)
    y = rows.repeat_interleave(columns, 0).to(device_of(model))
    sources = generators(seed, len(y))
    h = model.draw_latents(sources)
    if len(y) < world.size:
        raise ValueError(f"{len(y)} samples cannot be shared among {world.size} ranks; raise num_samples")
    mine = world.share(len(y))
    x = decode(
        model,
        None if h is None else h[mine],
        y[mine],
        sources[mine],
        temperature=temperature,
        progress=world.is_main,
        stepper=stepper,
    )
    x = world.concatenate(x)
    world.close()
    if not world.is_main:
        return
    figure = samples(
        x,
        levels=model.spec.levels,
        columns=columns if rows.shape[1] else 10,
        labels=label_texts(rows, class_names(checkpoint, model, trust)) if rows.shape[1] else (),
        title=f"Samples of a {type(model).__name__}",
        caption=origin(checkpoint, f"temperature {temperature:g}", f"seed {seed}"),
    )
    tensors = {"x": x.to(model.spec.storage_dtype), "y": y} | ({} if h is None else {"h": h})
    settings = {"temperature": temperature, "seed": seed, "stepper": stepper}
    save_with_settings(checkpoint, out, "samples", figure, tensors, settings, content=f"{len(x)} samples")


def labels_of_rows(spec: DataSpec, label: int | None) -> Tensor:
    """The labels of every row of the picture, (R, L): all classes, or one; a single row where L = 0."""
    rows = label_combinations(spec.num_classes)
    if label is None:
        return rows
    if not spec.num_classes:
        raise ValueError(f"label={label}, but this model is not class-conditional; leave label out")
    if not 0 <= label < spec.num_classes[0]:
        raise ValueError(f"label={label}; the classes are 0 .. {spec.num_classes[0] - 1}")
    return rows[rows[:, 0] == label]
