"""Make one HTML page of a run: ``pixelvae report runs/demo``."""

from __future__ import annotations

import json
from pathlib import Path

from pixelvae.reporting.events import read_events
from pixelvae.reporting.page import Picture, Run, page
from pixelvae.storage import write_atomically


def main(run: Path, out: Path | None = None, results: Path | None = None) -> Path:
    """Write a page with a run's metrics, curves and pictures, which any browser opens without a network.

    Args:
        run: A run's folder, such as runs/demo.
        out: The page; RUN/report.html by default.
        results: Where metrics.json and pictures were written, if not into RUN.
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
    events = read_events(run)
    files = [(path.stem, path.read_bytes()) for path in sorted(results.rglob("*.png"))]
    told = [(f"{name}, step {step:,}", png) for name, (step, png) in sorted(events.pictures.items())]
    metrics = text(results / "metrics.json")
    content = page(
        Run(
            name=run.as_posix(),
            metrics=json.loads(metrics) if metrics else None,
            curves=events.curves,
            pictures=[Picture(caption, png) for caption, png in [*files, *told]],
            config=text(checkpoint / "config.yaml"),
            environment=text(results / "environment.txt"),
            advice={
                "Metrics": f"pixelvae evaluate {checkpoint} --latents true",
                "Curves": "pixelvae train --config ...",
                "Pictures": f"pixelvae latents {checkpoint}",
                "Configuration": "pixelvae train --config ...",
                "Environment": f"pixelvae evaluate {checkpoint}",
            },
        )
    )
    write_atomically(out, content.encode())
    return out


def text(path: Path) -> str | None:
    """The file's text, None if there is none."""
    return path.read_text() if path.is_file() else None
