"""Encode images and decode them, several draws each: ``pixelvae reconstruct runs/demo/best``."""

from __future__ import annotations

from pathlib import Path

from pixelvae.commands.checkpoints import (
    DataFactory,
    load_with_latents,
    open_data,
    origin,
    save_with_settings,
    varied_examples,
)
from pixelvae.data.splits import SplitName
from pixelvae.decoders.base import StepperKind
from pixelvae.generation import reconstruct
from pixelvae.reporting.figures import label_texts, reconstructions


def main(
    checkpoint: Path,
    out: Path | None = None,
    num_images: int = 8,
    num_draws: int = 6,
    split: SplitName = "test",
    temperature: float = 1.0,
    data: DataFactory | None = None,
    seed: int = 0,
    stepper: StepperKind = "auto",
    device: str = "auto",
    trust: str | None = None,
) -> None:
    """Draw x' ~ p(x' | h) with h = E[q(h|x)], several times: h determines what all draws have in common.

    Writes reconstructions.png and reconstructions.safetensors (x, draws, h, y).

    Args:
        checkpoint: A checkpoint folder of a PixelVAE, such as runs/demo/best, or a run, whose best one is taken.
        out: Folder for the picture and the tensors; RUN/pictures by default.
        num_images: Number of images, the first of the split.
        num_draws: Draws for each image.
        split: test, validation or train.
        temperature: 1 samples the decoder, less is more probable, 0 takes the most probable level of every pixel.
        data: Another data set in place of the training data, such as FashionMNIST with its options; or only some
            options, such as --data.root FOLDER for data that moved. Options that are not given are the training data's.
        seed: Draw d of image i depends on seed + d * num_images + i.
        stepper: How the decoder goes from pixel to pixel: auto takes the fastest there is, full the slow oracle.
        device: cpu, cuda, cuda:1, mps ...; auto is the accelerator, or the CPU where there is none.
        trust: Modules, separated by commas, whose classes the checkpoint may name, such as a decoder of your own.
    """
    if num_draws < 1:
        raise ValueError(f"num_draws={num_draws}; wanted at least 1")
    model = load_with_latents(checkpoint, device, "reconstruct from", trust)
    examples = open_data(checkpoint, model, data, trust)
    x, y = varied_examples(examples, split, num_images, model)
    h = model.encode(x, y).mean
    draws = reconstruct(
        model, x, y=y, num_draws=num_draws, temperature=temperature, seed=seed, progress=True, stepper=stepper
    )
    figure = reconstructions(
        x,
        draws,
        levels=model.spec.levels,
        labels=label_texts(y, examples.class_names),
        title=f"Reconstructions of {split} images",
        caption="All draws of a row have the latents h = E[q(h|x)] of its original; they differ in what h does not "
        f"determine{'; the label is given' if model.spec.num_classes else ''}. "
        + origin(checkpoint, f"temperature {temperature:g}", f"seed {seed}"),
    )
    tensors = {"x": x.to(model.spec.storage_dtype), "draws": draws.to(model.spec.storage_dtype), "h": h, "y": y}
    settings = {"split": split, "temperature": temperature, "seed": seed, "stepper": stepper}
    content = f"{num_images} x {num_draws} draws"
    save_with_settings(checkpoint, out, "reconstructions", figure, tensors, settings, content=content)
