"""Encode images and draw them again, several times each: ``python scripts/reconstruct.py runs/demo/best``."""

from __future__ import annotations

from pathlib import Path

import jsonargparse
import torch

from pixelvae import load, reconstruct
from pixelvae.checkpoint import load_data, load_progress
from pixelvae.data import BatchKey
from pixelvae.data.splits import SplitName
from pixelvae.decoders.base import StepperKind
from pixelvae.distributed import connect
from pixelvae.reporting.figures import class_names, reconstructions, save_picture


def main(
    checkpoint: Path,
    out: Path | None = None,
    num: int = 8,
    num_draws: int = 6,
    split: SplitName = "test",
    temperature: float = 1.0,
    seed: int = 0,
    stepper: StepperKind = "auto",
    device: str = "auto",
) -> None:
    """Draw x' ~ p(x' | h), h = E[q(h|x)]: what the latents know stays, what the decoder makes up differs by draw.

    Writes reconstructions.png and reconstructions.safetensors (x, draws, h, y).

    Args:
        checkpoint: A checkpoint folder of a PixelVAE, such as runs/demo/best.
        out: Folder for the picture and the tensors; RUN/pictures by default.
        num: Number of images, the first of the split.
        num_draws: Draws for each image.
        split: test, validation or train.
        temperature: 1 samples the decoder, less is more probable, 0 takes the most probable level of every pixel.
        seed: Draw d of image i depends on seed + d * num + i.
        stepper: How the decoder goes from pixel to pixel: auto takes the fastest there is, full the slow oracle.
        device: auto, cpu, cuda, or any other that torch knows.
    """
    if num_draws < 1:
        raise ValueError(f"num_draws={num_draws}; wanted at least 1")
    model = load(checkpoint, device=connect(device).device)
    if not model.has_latents:
        raise ValueError(f"{checkpoint} has no latents to reconstruct from; scripts/sample.py draws from it")
    images = getattr(load_data(checkpoint), split)
    if not 1 <= num <= len(images):
        raise ValueError(f"num={num}; the {split} split has {len(images)} images")
    parameter = next(model.parameters())
    x, y = (tensor.to(parameter.device) for tensor in images[BatchKey(torch.arange(num), epoch=0)])
    h = model.encode(x, y).mean
    draws = reconstruct(
        model, x, y=y, num_draws=num_draws, temperature=temperature, seed=seed, progress=True, stepper=stepper
    )
    figure = reconstructions(
        x,
        draws,
        levels=model.spec.levels,
        labels=class_names(y),
        title=f"Reconstructions of {split} images",
        caption="All draws of a row share the latents h = E[q(h|x)] of its original; what differs is what the decoder "
        f"makes up{'; the label is given' if model.spec.num_classes else ''}. "
        f"{checkpoint}, step {load_progress(checkpoint).step:,}, temperature {temperature:g}, seed {seed}.",
    )
    tensors = {"x": x.to(torch.uint8), "draws": draws.to(torch.uint8), "h": h, "y": y}
    settings = {"checkpoint": checkpoint, "split": split, "temperature": temperature, "seed": seed, "stepper": stepper}
    path = (out or checkpoint.resolve().parent / "pictures") / "reconstructions.png"
    save_picture(path, figure, tensors, settings)
    print(f"{num} x {num_draws} draws: {path}; tensors beside it: {path.with_suffix('.safetensors').name}")


if __name__ == "__main__":
    jsonargparse.auto_cli(main)
