"""Draw figures of the latents of a trained PixelVAE: ``pixelvae latents runs/demo/best``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.figure import Figure
from safetensors.torch import save as safetensors_bytes
from torch import Tensor

from pixelvae.checkpoint import load_config, load_progress
from pixelvae.commands.checkpoints import DataFactory, load_with_latents, open_data, origin, run_folder
from pixelvae.completion import complete_in_rounds, upper_rows
from pixelvae.data.splits import Split, SplitName, spread
from pixelvae.evaluation.embedding import (
    Posteriors,
    nearest_neighbours,
    one_per_class,
    pca,
    posteriors,
    same_class_share,
    tsne,
)
from pixelvae.evaluation.information import active_units
from pixelvae.generation import decode, generators, reconstruct
from pixelvae.latents.paths import path_grid, switch_half_way, traverse
from pixelvae.models.base import GenerativeModel
from pixelvae.reporting.figures import completions, label_texts, save_figure
from pixelvae.reporting.latent_figures import cloud, decompressions, neighbours, patch, save_cloud, traversals
from pixelvae.reporting.projector import write_latents
from pixelvae.reporting.provenance import command_line, write_provenance
from pixelvae.storage import write_atomically, write_json

CLOUDS = ("pca", "tsne")
NUM_ROWS = 8  # images of neighbours, decompression and completion
NUM_DIMS, STEPS, WIDTH = 10, 11, 3.0  # of traversals: rows, columns, standard deviations to either side
NUM_NEIGHBOURS = 5
SIDE = 7  # of the grid between four images
MEAN_DRAWS = 64  # behind the mean of decompression
MAX_DRAWS = 12  # columns that can still be seen
ROUNDS = 4  # of completion

Tensors = dict[str, Tensor]
Facts = dict[str, Any]


class Look(NamedTuple):
    """The input of all pictures. rows: (B,) images, one per class as far as they go; how: for captions."""

    model: GenerativeModel
    points: Posteriors
    rows: Tensor
    num_draws: int
    seed: int
    split: str
    how: str
    class_names: Sequence[Sequence[str]]
    files: Sequence[str]

    @property
    def given(self) -> str:
        """For captions: whether the decoder is given the class."""
        return " The label is given to the decoder." if self.model.spec.num_classes else ""

    def name(self, row: int) -> str:
        """An image in a caption: its file or number, and its class."""
        classes = label_texts(self.points.y[row : row + 1], self.class_names)
        return (self.files[row] if self.files else f"image {row}") + (f" ({classes[0]})" if classes else "")

    def images(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x, y and posterior means of some images, on the device."""
        return tuple(part[rows].to(self.model.device) for part in (self.points.x, self.points.y, self.points.means))  # type: ignore[return-value]

    def decode_alike(self, h: Tensor, y: Tensor) -> Tensor:
        """x ~ p(x | h, y), all with the same uniform numbers: only h and y differ. h: (..., D), y: (..., L)."""
        flat = h.flatten(0, -2)
        sources = [generators(self.seed, 1)[0] for _ in flat]
        return decode(self.model, flat, y.flatten(0, -2), sources, progress=True).unflatten(0, h.shape[:-1])


def main(
    checkpoint: Path,
    out: Path | None = None,
    log_dir: Path | None = None,
    num_images: int | None = None,
    num_draws: int = 8,
    split: SplitName = "test",
    data: DataFactory | None = None,
    seed: int = 0,
    device: str = "auto",
    trust: str | None = None,
) -> dict[str, Any]:
    """Draw what the latents of a PixelVAE encode, as pictures and in TensorBoard's projector.

    Writes pca.png, tsne.png, traversals.png, neighbours.png, grid.png, decompression.png, completion.png;
    latents.safetensors, which holds what they show; latents.json (measurements and the command), config.yaml
    and environment.txt. The pictures are also in TensorBoard under latents/, and the images with their posterior
    means in its projector.

    Args:
        checkpoint: A checkpoint folder of a PixelVAE of images, such as runs/demo/best, or a run, whose best one is
            taken.
        out: Folder for the pictures; RUN/latents by default.
        log_dir: Folder for TensorBoard; the run's own by default.
        num_images: Number of images, spread over the split; by default all, up to 3,000, the limit of t-SNE
            and the projector.
        num_draws: Draws of each image in decompression.png and completion.png.
        split: test, validation or train.
        data: Another data set in place of the training data, such as FashionMNIST with its options; or only some
            options, such as --data.root FOLDER for data that moved. Options that are not given are the training data's.
        seed: Fixes all draws, and t-SNE.
        device: cpu, cuda, cuda:1, mps ...; auto is the accelerator, or the CPU where there is none.
        trust: Modules, separated by commas, whose classes the checkpoint may name, such as a decoder of your own.
    """
    if not 1 <= num_draws <= MAX_DRAWS:
        raise ValueError(f"num_draws={num_draws}; wanted 1 .. {MAX_DRAWS}, which fit into a picture")
    model = load_with_latents(checkpoint, device, "look at", trust)
    images: Split = getattr(open_data(checkpoint, model, data, trust), split)
    points = posteriors(model, images, num_images, seed=seed, device=model.device, progress=True)
    run, progress = run_folder(checkpoint), load_progress(checkpoint)
    how = origin(checkpoint, f"{split} split", f"seed {seed}")
    files, rows = images.files(spread(len(images), len(points.x))), one_per_class(points.y, NUM_ROWS)
    look = Look(model, points, rows, num_draws, seed, split, how, images.class_names, files)
    facts: Facts = {"command": command_line(), "seed": seed, "split": split}
    facts |= {"train_steps": progress.step, "images_seen": progress.images_seen, "num_images": len(points.x)}
    facts |= {"kl_nats": round(float(points.kl.mean()), 4), "active_units": int(active_units(points.means).sum())}
    out = out or run / "latents"
    figures, tensors, found = pictures(look)
    save(out, checkpoint, figures, tensors, facts | found)
    names: dict[str, Any] = {"class_names": look.class_names, "files": files}
    folder = write_latents(log_dir or run, points, figures, levels=look.model.spec.levels, step=progress.step, **names)
    print(f"{len(figures)} pictures, latents.json, and latents.safetensors with what they show: {out}")
    print(f"TensorBoard: tensorboard --logdir {log_dir or run} (images: latents/; projector: {folder})")
    return facts | found


def pictures(look: Look) -> tuple[dict[str, Figure], Tensors, Facts]:
    """All pictures by name, the tensors that they show, and the measurements."""
    figures: dict[str, Figure] = {}
    points = look.points
    tensors: Tensors = {"x": points.x.to(look.model.spec.storage_dtype), "y": points.y, "h": points.means}
    tensors |= {"kl": points.kl, "rows": look.rows, "scale": points.scale}
    facts: Facts = {}
    parts = (planes, traversed, nearest, between_four, decompressed, completed)
    for number, part in enumerate(parts, 1):
        print(f"{number}/{len(parts)}: {(part.__doc__ or '').splitlines()[0]}", flush=True)
        drawn, more, found = part(look)
        figures, tensors, facts = figures | drawn, tensors | more, facts | found
    return figures, tensors, facts


def planes(look: Look) -> tuple[dict[str, Figure], Tensors, Facts]:
    """Posterior means in the plane, by PCA and by t-SNE."""
    points = look.points
    classes = points.y[:, 0] if points.y.shape[1] else None
    names = look.class_names[0] if look.class_names else ()
    flat, shares = pca(points.means)
    embedded = tsne(points.means, look.seed)
    percent = [f"{100 * share:.1f} %" for share in shares.tolist()]
    what = f"Posterior means E[q(h|x)] of {len(points.means):,} images, {points.means.shape[1]} latents"
    coloured = ", coloured by class" if classes is not None else ""
    if coloured and not look.model.spec.num_classes:
        coloured += ", which the model was not given"
    figures = {
        "pca": cloud(
            flat,
            classes,
            class_names=names,
            title="Latents in the plane: principal components",
            axis_labels=[f"component {i + 1} ({share} of the variance)" for i, share in enumerate(percent)],
            caption=f"{what}{coloured}. {look.how}",
        ),
        "tsne": cloud(
            embedded,
            classes,
            class_names=names,
            title="Latents in the plane: t-SNE",
            caption=f"{what}{coloured}. Nearest points are close in h; large distances have no meaning. {look.how}",
        ),
    }
    facts = {"pca_variance_shares": [round(share, 4) for share in shares.tolist()]}
    return figures, {"pca": flat, "tsne": embedded}, facts


def traversed(look: Look) -> tuple[dict[str, Figure], Tensors, Facts]:
    """Traversals of the most active dimensions."""
    variances = look.points.means.var(0)
    dims = variances.sort(descending=True, stable=True).indices[:NUM_DIMS]
    _, y, means = look.images(look.rows[:1])
    h = traverse(means[0], dims.to(look.model.device), look.points.scale.to(look.model.device), STEPS, WIDTH)
    x = look.decode_alike(h, y[0].expand(*h.shape[:2], -1))
    figure = traversals(
        x,
        dims.tolist(),
        variances[dims].tolist(),
        levels=look.model.spec.levels,
        width=WIDTH,
        title="Traversals of the most active latents",
        caption="One latent moves in each row, the others stay at the posterior mean of "
        f"{look.name(int(look.rows[0]))}. σ is the standard deviation of the aggregate posterior. All "
        f"images have the same random numbers: only h changes.{look.given} {look.how}",
    )
    facts = {"variance_of_means_per_dim": [round(value, 4) for value in variances.tolist()]}
    drawn = x.to(look.model.spec.storage_dtype)
    return {"traversals": figure}, {"traversals": drawn, "traversals_h": h, "dims": dims}, facts


def nearest(look: Look) -> tuple[dict[str, Figure], Tensors, Facts]:
    """Nearest neighbours in h and in pixels."""
    x, y, means, *_ = look.points
    tensors = {"neighbours_h": nearest_neighbours(means, NUM_NEIGHBOURS)}
    tensors["neighbours_pixels"] = nearest_neighbours(x, NUM_NEIGHBOURS)
    facts, same = {}, ""
    if y.shape[1]:
        facts = {f"same_class_of_{name}": round(same_class_share(near, y[:, 0]), 4) for name, near in tensors.items()}
        in_h, in_pixels = (f"{100 * value:.1f} %" for value in facts.values())
        same = f" Of all these neighbours {in_h} have their image's class in h, {in_pixels} in pixels."
    figure = neighbours(
        x[look.rows],
        *(x[near[look.rows]] for near in tensors.values()),
        levels=look.model.spec.levels,
        labels=label_texts(y[look.rows], look.class_names),
        title="Nearest neighbours",
        caption=f"The {NUM_NEIGHBOURS} nearest of {len(x) - 1:,} other images, nearest first: by the Euclidean "
        f"distance of posterior means, and of pixels.{same} {look.how}",
    )
    return {"neighbours": figure}, tensors, facts


def between_four(look: Look) -> tuple[dict[str, Figure], Tensors, Facts]:
    """A grid between four images."""
    rows = one_per_class(look.points.y, 4)
    x, y, means = look.images(rows)
    h = path_grid(means, SIDE, SIDE)
    drawn = look.decode_alike(h, path_grid(y, SIDE, SIDE, switch_half_way))  # labels of the nearest corner
    figure = patch(
        drawn,
        x,
        levels=look.model.spec.levels,
        title="Between four images",
        caption=f"In frames the originals, {', '.join(map(look.name, rows.tolist()))}; between them p(x | h), h on "
        "great arcs between their posterior means, down both sides and then across, all with the same random numbers."
        f"{look.given and look.given[:-1] + ': that of the nearest corner.'} {look.how}",
    )
    return {"grid": figure}, {"grid": drawn.to(look.model.spec.storage_dtype), "grid_h": h, "corners": rows}, {}


def decompressed(look: Look) -> tuple[dict[str, Figure], Tensors, Facts]:
    """Lossy decompression: one h, many draws."""
    x, y, _ = look.images(look.rows)
    draws = reconstruct(look.model, x, y=y, num_draws=MEAN_DRAWS, seed=look.seed, progress=True)
    mean = draws.float().mean(0)
    figure = decompressions(
        x,
        draws[: look.num_draws],
        mean,
        levels=look.model.spec.levels,
        labels=label_texts(y, look.class_names),
        title="Lossy decompression",
        caption="All draws of a row have h = E[q(h|x)] of the original. What they have in common is encoded in h, "
        f"their differences come from the decoder; the mean is over {MEAN_DRAWS} draws.{look.given} {look.how}",
    )
    return {"decompression": figure}, {"draws": draws.to(look.model.spec.storage_dtype), "draws_mean": mean}, {}


def completed(look: Look) -> tuple[dict[str, Figure], Tensors, Facts]:
    """Completion of half-hidden images."""
    x, y, _ = look.images(look.rows)
    n, known = look.num_draws, upper_rows(x.shape[1:], x.shape[2] // 2, x.device)
    start, labels = x.repeat(n, 1, 1, 1), y.repeat(n, 1)
    drawn = complete_in_rounds(look.model, start, known, labels, rounds=ROUNDS, seed=look.seed, progress=True)
    drawn = drawn.unflatten(0, (n, -1))
    figure = completions(
        x,
        known,
        drawn,
        levels=look.model.spec.levels,
        labels=label_texts(y, look.class_names),
        title="Completion of half-hidden images",
        caption="Striped rows are hidden from encoder and decoder. h ~ q(h|x) and the hidden rows are drawn in turn, "
        f"{ROUNDS} times; at first the hidden rows are 0 (Rezende et al. 2014, appendix F)."
        f"{look.given} {look.how}",
    )
    return {"completion": figure}, {"completions": drawn.to(look.model.spec.storage_dtype), "known": known}, {}


def save(out: Path, checkpoint: Path, figures: dict[str, Figure], tensors: Tensors, facts: Facts) -> None:
    """Write all files, each atomically, with what is needed to reproduce them."""
    for name, figure in figures.items():
        (save_cloud if name in CLOUDS else save_figure)(figure, out / f"{name}.png")
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_atomically(out / "latents.safetensors", safetensors_bytes(plain, {"seed": str(facts["seed"])}))
    write_json(out / "latents.json", facts)
    write_provenance(out, load_config(checkpoint))
