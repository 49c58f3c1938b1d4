"""Make one HTML page of a run: ``pixelvae report runs/demo``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from pixelvae.reporting.events import Events, read_events
from pixelvae.reporting.page import Picture, Run, page
from pixelvae.storage import write_atomically


def main(run: Path, out: Path | None = None, results: Path | None = None) -> Path:
    """Write a self-contained page with a run's metrics, curves and pictures.

    Links to files outside their folder are omitted.

    Args:
        run: A run's folder, such as runs/demo.
        out: The page; RUN/report.html by default.
        results: The folder of metrics.json and pictures, if not RUN.
    """
    path = write(run, out or run / "report.html", results or run)
    print(f"Written to {path}")
    return path


def write(run: Path, out: Path, results: Path) -> Path:
    """Gather the contents of the page and write it.

    Raises:
        ValueError: If there is no run, or no such results.
    """
    checkpoint = next((run / name for name in ("best", "last") if (run / name).is_dir()), None)
    if checkpoint is None:
        raise ValueError(f"run={run} holds neither best nor last; wanted the folder of a run, such as runs/demo")
    if not results.is_dir():
        raise ValueError(f"results={results}: no such folder; leave it out, or name the --out of pixelvae evaluate")
    events = curves_and_pictures(run)
    files = [(path.stem, path.read_bytes()) for path in pictures(results)]
    shown = {f"latents/{stem}" for stem, _ in files}  # pixelvae latents writes its pictures into files and events
    logged = [
        (f"{name}, step {step:,}", png) for name, (step, png) in sorted(events.pictures.items()) if name not in shown
    ]
    metrics = text(results, "metrics.json")
    name = run.resolve().name
    place = (run if not run.is_absolute() else Path(name)) / checkpoint.name
    content = page(
        Run(
            name=name,
            metrics=json.loads(metrics) if metrics else None,
            curves=events.curves,
            pictures=[Picture(caption, png) for caption, png in [*files, *logged]],
            config=text(run, f"{checkpoint.name}/config.yaml"),
            environment=text(results, "environment.txt"),
            advice={
                "Metrics": f"pixelvae evaluate {place} --latents true",
                "Curves": "pixelvae train --config ...",
                "Pictures": f"pixelvae latents {place}",
                "Configuration": "pixelvae train --config ...",
                "Environment": f"pixelvae evaluate {place}",
            },
        )
    )
    write_atomically(out, content.encode())
    return out


def curves_and_pictures(run: Path) -> Events:
    """The TensorBoard data of a run; empty if one of its event files is a link to another folder."""
    written = list(run.glob("*tfevents*"))
    if len(list(inside(run, written))) < len(written):
        return Events({}, {})
    return read_events(run)


def pictures(results: Path) -> Iterator[Path]:
    """The pictures of a run, without the projector's sprites of thousands of images."""
    for path in inside(results, sorted(results.rglob("*.png"))):
        if not (path.parent / "tensors.tsv").exists():
            yield path


def inside(folder: Path, paths: Iterable[Path]) -> Iterator[Path]:
    """The files of a folder; links to other folders are omitted, with a message."""
    for path in paths:
        if path.resolve().is_relative_to(folder.resolve()):
            yield path
        else:
            print(f"Left out: {path} is a link out of {folder}")


def text(folder: Path, name: str) -> str | None:
    """The text of a file in a folder, or None."""
    path = next(inside(folder, [folder / name]), None)
    return path.read_text() if path and path.is_file() else None
