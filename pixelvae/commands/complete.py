"""Complete the lower part of images: ``pixelvae complete runs/demo/best``."""

from __future__ import annotations

from pathlib import Path

from pixelvae.commands.checkpoints import (
    DataFactory,
    load_pictures,
    open_data,
    origin,
    save_with_settings,
    varied_examples,
)
from pixelvae.completion import complete_in_rounds, upper_rows
from pixelvae.data.splits import SplitName
from pixelvae.decoders.base import StepperKind
from pixelvae.reporting.figures import completions, label_texts


def main(
    checkpoint: Path,
    out: Path | None = None,
    num_images: int = 8,
    num_draws: int = 5,
    keep: float = 0.5,
    rounds: int = 4,
    split: SplitName = "test",
    data: DataFactory | None = None,
    seed: int = 0,
    stepper: StepperKind = "auto",
    device: str = "auto",
    trust: str | None = None,
) -> None:
    """Draw the hidden rows of images given the known rows, several times for each image.

    Without latents the draws are exact: p(lower rows | upper rows). With latents, draws of h ~ q(h|x) and of the hidden
    rows alternate, starting from an image whose hidden pixels are all 0. The model never has the hidden pixels as
    input. Writes completions.png and completions.safetensors (x, draws, known, y).

    Reference:
        Stochastic Backpropagation and Approximate Inference in Deep Generative Models (Rezende et al., 2014),
        appendix F. https://arxiv.org/abs/1401.4082

    Args:
        checkpoint: A checkpoint folder, such as runs/demo/best, or a run, whose best checkpoint is taken.
        out: Folder for the picture and the tensors; RUN/pictures by default.
        num_images: Number of images, the first of the split.
        num_draws: Draws for each image.
        keep: Share of the rows that are known, from the top.
        rounds: Number of alternating draws of h and the hidden rows; 1 suffices without latents.
        split: test, validation or train.
        data: Another data set in place of the training data, such as FashionMNIST with its options; or only some
            options, such as --data.root FOLDER for data that moved. Options that are not given are the training data's.
        seed: Fixes all draws.
        stepper: How the decoder goes from pixel to pixel: auto takes the fastest there is, full the slow oracle.
        device: cpu, cuda, cuda:1, mps ...; auto is the accelerator, or the CPU where there is none.
        trust: Modules, separated by commas, whose classes the checkpoint may name, such as a decoder of your own.
    """
    if num_draws < 1 or rounds < 1 or not 0 <= keep < 1:
        raise ValueError(
            f"num_draws={num_draws}, rounds={rounds}, keep={keep}; wanted at least 1, 1, and 0 <= keep < 1"
        )
    model = load_pictures(checkpoint, device, trust)
    examples = open_data(checkpoint, model, data, trust)
    x, y = varied_examples(examples, split, num_images, model)
    known = upper_rows(x.shape[1:], round(keep * x.shape[2]), x.device)  # (C, H, W)
    rounds = rounds if model.has_latents else 1
    starts, labels = x.repeat(num_draws, 1, 1, 1), y.repeat(num_draws, 1)
    draws = complete_in_rounds(model, starts, known, labels, rounds=rounds, seed=seed, stepper=stepper, progress=True)
    draws = draws.unflatten(0, (num_draws, num_images))
    how = f"{rounds} alternating draws of h and the hidden rows" if rounds > 1 else "each draw in one pass"
    figure = completions(
        x,
        known,
        draws,
        levels=model.spec.levels,
        labels=label_texts(y, examples.class_names),
        title=f"Completions of {split} images",
        caption=f"Striped rows are hidden{', the label is given' if model.spec.num_classes else ''}; {how}. "
        + origin(checkpoint, f"seed {seed}"),
    )
    tensors = {"x": x.to(model.spec.storage_dtype), "draws": draws.to(model.spec.storage_dtype), "known": known, "y": y}
    settings = {"split": split, "rounds": rounds, "seed": seed, "stepper": stepper}
    content = f"{num_images} x {num_draws} completions"
    save_with_settings(checkpoint, out, "completions", figure, tensors, settings, content=content)
