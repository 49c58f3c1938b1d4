"""Write nats and latents of files into a table, with outliers, neighbours, clusters: ``pixelvae encode``."""

from __future__ import annotations

import json
import math
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from pixelvae.checkpoint import load
from pixelvae.commands.checkpoints import DataFactory, origin, run_folder
from pixelvae.commands.parsing import call
from pixelvae.commands.sources import SPLITS, Source, described, given_source, of_split, opened, own_source
from pixelvae.commands.trust import trusted
from pixelvae.data import BatchKey
from pixelvae.data.files import OnError
from pixelvae.distributed import connect
from pixelvae.evaluation.encoding import encode_files
from pixelvae.evaluation.encodings import Encodings, check_format
from pixelvae.evaluation.surprise import surprise
from pixelvae.models.base import GenerativeModel
from pixelvae.reporting.contact_sheet import Section, contact_sheet, thumbnails
from pixelvae.reporting.figures import save_figure
from pixelvae.reporting.heat_maps import heat_maps as draw_heat_maps
from pixelvae.reporting.heat_maps import spread_over_ranks

NUM_NEIGHBOURS = 15  # with the file itself, two rows of a sheet
NUM_MEMBERS = 8  # of each cluster, a row of a sheet

Rows = npt.NDArray[np.integer]


class Sheet(NamedTuple):
    """The content of a contact sheet."""

    sections: list[Section]
    title: str
    caption: str


def main(
    checkpoint: Path,
    files: list[Path] | None = None,
    out: Path | None = None,
    split: Literal["all", "train", "validation", "test"] = "all",
    data: DataFactory | None = None,
    label: str | None = None,
    num_samples: int = 0,
    neighbours: Path | None = None,
    outliers: int = 0,
    clusters: int = 0,
    heat_maps: int = 0,
    seed: int = 0,
    on_error: OnError = "raise",
    device: str = "auto",
    trust: str | None = None,
) -> Encodings:
    """Write a table with one row per file: path, split, class, nats, bits_per_dim, kl, h_0, h_1, ...

    Pictures of any size are converted to the model's shape and levels, sounds to its rate and length. A row depends on
    the content of its file, its class and the seed alone. Figures are written beside the table.

    Args:
        checkpoint: A checkpoint folder, such as runs/demo/best, or a run, whose best one is taken.
        files: Pictures (or sounds) and folders of them, also without the option's name, after the checkpoint; the data
            set of the checkpoint by default.
        out: The table, a .csv, .parquet or .npz file; RUN/encodings.csv by default.
        split: Encode this split of the data set only, or those of the files that are in it.
        data: Another data set in place of the training data, such as FashionMNIST with its options; or only some
            options, such as --data.root FOLDER for data that moved. Options that are not given are the training data's.
        label: Of a class-conditional model: the class of all files, by name or number. By default that of the data
            set, or the one that the folder of a file is named after.
        num_samples: Draws of h per file for the importance-weighted bound; 0 for the ELBO.
        neighbours: A file; the files with the nearest latents are shown in OUT_neighbours.png.
        outliers: Number of files with the most nats to show in OUT_outliers.png.
        clusters: Number of clusters of latents; they are shown in OUT_clusters.png.
        heat_maps: Number of pictures, from the fewest nats to the most, to show above the bits of their pixels in
            OUT_heat_maps.png.
        seed: Seed of the draws of h and of k-means.
        on_error: raise an error that lists the files that cannot be read, or skip them.
        device: cpu, cuda, cuda:1, mps ...; auto is the accelerator, or the CPU where there is none.
        trust: Modules, separated by commas, whose classes the checkpoint may name, such as a decoder of your own.
    """
    out = out or run_folder(checkpoint) / "encodings.csv"
    check_format(out)
    counts = {"outliers": outliers, "clusters": clusters, "heat_maps": heat_maps, "num_samples": num_samples}
    if min(counts.values()) < 0:
        raise ValueError(f"{', '.join(f'{name}={n}' for name, n in counts.items())}; wanted 0 or more")
    model = load(checkpoint, device=connect(device).device, classes=trusted(trust))
    if (neighbours or clusters) and not model.has_latents:
        raise ValueError(f"{checkpoint} has no latents, which neighbours and clusters need; leave them out")
    require_pictures(model, heat_maps)
    found = opened(checkpoint, model, data, trust)
    asked = given_source(found, [neighbours], label, "raise") if neighbours else None
    if files:
        source = given_source(found, files, label, on_error)
        source = source if split == "all" else of_split(source, split)
        print(described(model, found.options))
    else:
        source = own_source(found, SPLITS if split == "all" else [split])
    table = encoded(model, source, num_samples, seed, progress=True)
    table = table.with_clusters(clusters, seed) if clusters else table
    table.save(out)
    print(f"{table}\nTable: {out}")
    sheets = {"outliers": worst_files(table, source, outliers)} if outliers else {}
    if asked:
        sheets["neighbours"] = nearest_files(table, source, encoded(model, asked, num_samples, seed), asked)
    if clusters:
        sheets["clusters"] = clusters_of_files(table, source)
    for name, sheet in sheets.items():
        save_sheet(sheet, model, out.with_name(f"{out.stem}_{name}.png"), origin(checkpoint, f"seed {seed}"))
    if heat_maps:
        save_heat_maps(table, model, source, heat_maps, out.with_name(f"{out.stem}_heat_maps.png"), checkpoint)
    return table


def require_pictures(model: GenerativeModel, heat_maps: int) -> None:
    """Check that a model's data can be drawn, where heat maps are asked for.

    Raises:
        ValueError: If they are sounds, or have other channels than grey or RGB.
    """
    if heat_maps and (len(model.spec.sites) != 2 or model.spec.channels not in (1, 3)):
        raise ValueError(
            f"heat_maps={heat_maps}: the model's data are {model.spec.summary}; wanted grey or RGB pictures"
        )


def save_heat_maps(
    table: Encodings, model: GenerativeModel, source: Source, number: int, path: Path, checkpoint: Path
) -> None:
    """Draw some pictures of a table above the bits of their pixels, and print where."""
    rows = spread_over_ranks(table.nats, number)
    x, y = source.examples[BatchKey(torch.from_numpy(rows), epoch=0)]
    bits = surprise(model, x.to(model.device), y.to(model.device)).cpu()
    kl = table.kl[rows] / math.log(2)
    sums = [f"{total:,.0f}" for total in bits.flatten(1).sum(1).tolist()]
    labels = [f"{pixels} + {of_h:.0f}" for pixels, of_h in zip(sums, kl, strict=True)] if model.has_latents else sums
    given = ", h)$, h the mean of q(h | x)" if model.has_latents else ")$"
    added = " + KL(q(h | x) ‖ p(h))" if model.has_latents else ""
    caption = (
        rf"Below each picture: $-\log_2\,p(x_t\,|\,x_{{<t}}{given}, for every pixel. "
        f"The numbers are bits: the sum over all pixels{added}. "
        f"{len(rows)} of {len(table):,} pictures, from the fewest nats to the most at equal distances of rank. "
    )
    figure = draw_heat_maps(
        x,
        bits,
        levels=model.spec.levels,
        title="Bits of every pixel",
        caption=caption + origin(checkpoint),
        labels=labels,
    )
    save_figure(figure, path)
    print(f"Bits of every pixel: {path}")


def encoded(
    model: GenerativeModel, source: Source, num_samples: int, seed: int, *, progress: bool = False
) -> Encodings:
    """The table of a source."""
    table = encode_files(model, source.examples, num_samples=num_samples, seed=seed, progress=progress)
    return replace(table, path=np.array(source.path), split=np.array(source.split), label=np.array(source.label))


def worst_files(table: Encodings, source: Source, num: int) -> Sheet:
    """The files with the most nats."""
    rows = table.worst(num)
    section = pictures("", source, rows, [[f"{table.nats[row]:,.1f} nats"] for row in rows])
    caption = (
        f"The {len(rows)} least probable of {len(table):,} files, in increasing order of probability. All files: "
        f"{table.nats.mean():,.1f} nats on average, standard deviation {table.nats.std():,.1f}."
    )
    return Sheet([section], "Outliers: the files with the most nats", caption)


def nearest_files(table: Encodings, source: Source, query: Encodings, asked: Source) -> Sheet:
    """A file, and the files whose latents are nearest to its own."""
    rows, distances = table.nearest(query.h[0], NUM_NEIGHBOURS + 1)
    other = [i for i, row in enumerate(rows) if not is_same(source.path[row], asked.path[0])][:NUM_NEIGHBOURS]
    near = pictures("", source, rows[other], [[f"distance {distance:.2f}"] for distance in distances[other]])
    own = pictures("", asked, np.array([0]), [[]])
    same = [row for row in rows.tolist() if is_same(source.path[row], asked.path[0])]
    name = source.names(same[:1])[0] if same else Path(asked.path[0]).name  # as short as those beside it
    lines = [[name, "the given file"], *near.lines]
    section = Section("", torch.cat([own.x, near.x]), lines, framed=1)
    caption = (
        f"Framed: {Path(asked.path[0]).name}. The others are the nearest of {len(table):,} files, nearest first, by "
        "the Euclidean distance of posterior means E[q(h|x)], each latent divided by its standard deviation in q(h)."
    )
    return Sheet([section], "Nearest files in the latents", caption)


def is_same(path: str, other: str) -> bool:
    """Whether two paths are of the same file; a table of a data set has paths within its folder."""
    return Path(path) == Path(other) or Path(other).as_posix().endswith(f"/{path}")


def clusters_of_files(table: Encodings, source: Source) -> Sheet:
    """The files nearest to the mean of each cluster."""
    assert table.cluster is not None
    sections = []
    for cluster in range(int(table.cluster.max()) + 1):
        members = table.members(cluster)
        heading = f"cluster {cluster}: {len(members):,} files"
        label, count = Counter(table.label[members].tolist()).most_common(1)[0]
        heading += f", most often {label} ({100 * count / len(members):.0f} %)" if label else ""
        rows = members[:NUM_MEMBERS]
        sections.append(pictures(heading, source, rows, [[f"{table.nats[row]:,.1f} nats"] for row in rows]))
    caption = (
        f"K-means of the posterior means of {len(table):,} files, each latent divided by its standard deviation in "
        "q(h). Shown are the files nearest to the mean of each cluster; the largest cluster is first."
    )
    return Sheet(sections, "Clusters of files in the latents", caption)


def pictures(heading: str, source: Source, rows: Rows, lines: Sequence[Sequence[str]]) -> Section:
    """Some files of a source, after conversion, with their paths and further lines."""
    x, _ = source.examples[BatchKey(torch.from_numpy(rows.astype(np.int64)), epoch=0)]
    tiles, _ = thumbnails(x, source.examples.spec.levels)
    return Section(
        heading, tiles, [[name, *more] for name, more in zip(source.names(rows.tolist()), lines, strict=True)]
    )


def save_sheet(sheet: Sheet, model: GenerativeModel, path: Path, how: str) -> None:
    """Write a contact sheet and print its path."""
    levels = model.spec.levels if len(model.spec.sites) == 2 else 256
    figure = contact_sheet(sheet.sections, levels=levels, title=sheet.title, caption=f"{sheet.caption} {how}")
    save_figure(figure, path)
    print(f"{sheet.title}: {path}")


def gathered(arguments: Sequence[str]) -> list[str]:
    """Combine the files of a command line, the positional words after the checkpoint, to one option ``--files``.

    Example:
        >>> gathered(["runs/demo/best", "a.png", "--seed", "3", "b", "--out=t.csv"])
        ['runs/demo/best', '--seed', '3', '--out=t.csv', '--files=["a.png", "b"]']
    """
    words: list[str] = []
    positional: list[str] = []
    wants_value = False
    for word in arguments:
        is_option = word.startswith("--")
        (words if is_option or wants_value or not positional else positional).append(word)
        if not is_option and not wants_value and not positional:
            positional.append("")  # the checkpoint, which stays where it is
        wants_value = is_option and "=" not in word
    files = positional[1:]
    return [*words, f"--files={json.dumps(files, ensure_ascii=False)}"] if files else words


def run(args: Sequence[str] | None = None, prog: str | None = None) -> Encodings:
    """Parse a command line (this process's own by default) and encode."""
    table: Encodings = call(main, gathered(sys.argv[1:] if args is None else args), prog)
    return table
