"""Hide the lower part of images and let a model draw it: ``python scripts/complete.py runs/demo/best``."""

from __future__ import annotations

from pathlib import Path

import jsonargparse
import torch
from torch import Tensor

from pixelvae import complete, load
from pixelvae.checkpoint import load_data, load_progress
from pixelvae.data import BatchKey
from pixelvae.data.splits import SplitName
from pixelvae.decoders.base import StepperKind
from pixelvae.distributed import connect
from pixelvae.generation import generators
from pixelvae.models.base import GenerativeModel
from pixelvae.reporting.figures import class_names, completions, save_picture


def main(
    checkpoint: Path,
    out: Path | None = None,
    num: int = 8,
    num_draws: int = 5,
    keep: float = 0.5,
    rounds: int = 4,
    split: SplitName = "test",
    seed: int = 0,
    stepper: StepperKind = "auto",
    device: str = "auto",
) -> None:
    """Draw what is hidden given what is shown, several times for each image.

    Without latents the draws are exact: p(lower rows | upper rows). With latents, which belong to the whole image,
    h ~ q(h|x) and the hidden rows are drawn in turn, from an image whose hidden pixels are all 0 on: the model
    never sees what is hidden. Writes completions.png and completions.safetensors (x, draws, known, y).

    Reference:
        Stochastic Backpropagation and Approximate Inference in Deep Generative Models (Rezende et al., 2014),
        appendix F. https://arxiv.org/abs/1401.4082

    Args:
        checkpoint: A checkpoint folder, such as runs/demo/best.
        out: Folder for the picture and the tensors; RUN/pictures by default.
        num: Number of images, the first of the split.
        num_draws: Draws for each image.
        keep: Share of the rows that is shown, from the top.
        rounds: How often h and the hidden rows are drawn in turn; 1 is enough without latents.
        split: test, validation or train.
        seed: Fixes all draws.
        stepper: How the decoder goes from pixel to pixel: auto takes the fastest there is, full the slow oracle.
        device: auto, cpu, cuda, or any other that torch knows.
    """
    if num_draws < 1 or rounds < 1 or not 0 <= keep < 1:
        raise ValueError(
            f"num_draws={num_draws}, rounds={rounds}, keep={keep}; wanted at least 1, 1, and 0 <= keep < 1"
        )
    model = load(checkpoint, device=connect(device).device)
    images = getattr(load_data(checkpoint), split)
    if not 1 <= num <= len(images):
        raise ValueError(f"num={num}; the {split} split has {len(images)} images")
    x, y = (tensor.to(next(model.parameters()).device) for tensor in images[BatchKey(torch.arange(num), epoch=0)])
    height = x.shape[2]
    known = (torch.arange(height, device=x.device) < round(keep * height))[:, None].expand(*x.shape[1:])  # (C, H, W)
    rounds = rounds if model.has_latents else 1
    draws = draw_hidden(model, x.repeat(num_draws, 1, 1, 1), known, y.repeat(num_draws, 1), rounds, seed, stepper)
    draws = draws.unflatten(0, (num_draws, num))
    how = f"h and the hidden rows drawn in turn, {rounds} times" if rounds > 1 else "each draw in one pass"
    figure = completions(
        x,
        known,
        draws,
        levels=model.spec.levels,
        labels=class_names(y),
        title=f"Completions of {split} images",
        caption=f"Blue was hidden from the model{', the label is given' if model.spec.num_classes else ''}; {how}. "
        f"{checkpoint}, step {load_progress(checkpoint).step:,}, seed {seed}.",
    )
    tensors = {"x": x.to(torch.uint8), "draws": draws.to(torch.uint8), "known": known, "y": y}
    settings = {"checkpoint": checkpoint, "split": split, "rounds": rounds, "seed": seed, "stepper": stepper}
    path = (out or checkpoint.resolve().parent / "pictures") / "completions.png"
    save_picture(path, figure, tensors, settings)
    print(f"{num} x {num_draws} completions: {path}; tensors beside it: {path.with_suffix('.safetensors').name}")


def draw_hidden(
    model: GenerativeModel, x: Tensor, known: Tensor, y: Tensor, rounds: int, seed: int, stepper: StepperKind
) -> Tensor:
    """Draw the pixels of x that are not known, h ~ q(h|x) in between. x: (B, C, H, W) -> (B, C, H, W)."""
    x, h = x.where(known, 0), None
    for i in range(rounds):
        if model.has_latents:
            sources = generators(seed + 2 * i * len(x), len(x))
            h = model.encode(x, y).rsample(torch.cat([model.draw_noise(1, g) for g in sources]))
        x = complete(model, x, known, h=h, y=y, seed=seed + (2 * i + 1) * len(x), progress=True, stepper=stepper)
    return x


if __name__ == "__main__":
    jsonargparse.auto_cli(main)
