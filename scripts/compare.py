"""Train configurations alike and set them side by side: ``python scripts/compare.py "[A.yaml, B.yaml]" --steps N``."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any, NamedTuple

import jsonargparse
import torch
import yaml
from matplotlib.figure import Figure

from evaluate import main as evaluate
from pixelvae.checkpoint import load_config, load_progress
from pixelvae.reporting.events import read_events
from pixelvae.reporting.figures import COLOURS, save_figure
from pixelvae.storage import write_atomically
from train import run as train

PROBE_STEPS = 30  # of which the steps of an equal time are reckoned


class Member(NamedTuple):
    """One configuration's result. Its validation curve is of (step, nats per example)."""

    name: str
    metrics: dict[str, Any]
    curve: list[tuple[int, float]]

    @property
    def nats(self) -> list[float]:
        """−ELBO on validation."""
        return [nats for _, nats in self.curve]

    def scaled(self, total: float) -> list[float]:
        """What of ``total``, spread evenly over the steps, was spent at each point of the curve."""
        return [total * step / self.metrics["train_steps"] for step, _ in self.curve]


def main(
    configs: list[Path],
    steps: int | None = None,
    minutes: float | None = None,
    out: Path = Path("runs/compare/results"),
    runs: Path = Path("runs/compare"),
    num_samples: int = 64,
    iwae_images: int | None = None,
    device: str = "auto",
) -> list[Member]:
    """Train every configuration for equal steps or equal time, evaluate all on the test set, and write one table.

    Stopped at any moment, the same command goes on where it was: finished runs are kept. For an equal time, a short
    probe of each configuration on this machine says how many steps it gets, so that every learning rate decays to
    its end; the plan is kept in RUNS/plan.json.

    Args:
        configs: YAML files of scripts/train.py, all on the same data.
        steps: Updates for each; exclusive with ``minutes``.
        minutes: Training time for each, validation and pictures not counted; exclusive with ``steps``.
        out: Folder for compare.md, compare.json, compare.png, and NAME/metrics.json for each configuration.
        runs: Folder for checkpoints, RUNS/NAME.
        num_samples: Draws of h for each image of the importance-weighted bound; 0 leaves that bound out.
        iwae_images: Evaluate the importance-weighted bound on about so many images only; all by default.
        device: auto, cpu, cuda, or any other that torch knows.
    """
    check(configs, steps, minutes)
    plan = planned_steps(configs, steps, minutes, runs, device)
    members = []
    for path in configs:
        folder = runs / path.stem
        fit(path, folder, plan[path.stem], device)
        metrics = evaluate(folder / "best", out / path.stem, num_samples, iwae_images, device=device)
        whole = load_progress(folder / "last")  # metrics.json has the progress of the best checkpoint
        metrics |= {"train_steps": whole.step, "images_seen": whole.images_seen}
        metrics |= {"train_seconds": round(whole.train_seconds, 1)}
        curve = [(step, -elbo) for step, elbo in read_events(folder).curves["validation/elbo_nats"]]
        members.append(Member(path.stem, metrics, curve))
    write(members, out)
    return members


def check(configs: list[Path], steps: int | None, minutes: float | None) -> None:
    """Refuse, before any work, what could not be compared.

    Raises:
        ValueError: If a file is missing, two have one name, their data differ, or not one of the budgets is given.
    """
    if (steps is None) == (minutes is None):
        raise ValueError(f"steps={steps} and minutes={minutes}; give one of --steps and --minutes")
    if (steps if steps is not None else minutes or 0) <= 0:
        raise ValueError(f"steps={steps}, minutes={minutes}; wanted more than 0")
    missing = [str(path) for path in configs if not path.is_file()]
    if not configs or missing:
        raise ValueError(f"configs: no such file: {', '.join(missing)}" if missing else "configs: wanted at least one")
    names = [path.stem for path in configs]
    if len(set(names)) < len(names):
        raise ValueError(f"configs are named {names}; wanted a different file name for each, for it names the result")
    data = {path.stem: yaml.safe_load(path.read_text()).get("data") for path in configs}
    different = [name for name in names if data[name] != data[names[0]]]
    if different:
        raise ValueError(
            f"data of {different[0]} is {data[different[0]]}, of {names[0]} {data[names[0]]}; wanted the same"
        )


def planned_steps(
    configs: list[Path], steps: int | None, minutes: float | None, runs: Path, device: str
) -> dict[str, int]:
    """How many steps each configuration is trained for; reckoned once for a folder of runs, and kept there."""
    if steps is not None:
        return {path.stem: steps for path in configs}
    assert minutes is not None
    kept = runs / "plan.json"
    plan: dict[str, Any] = json.loads(kept.read_text()) if kept.is_file() else {"minutes": minutes, "steps": {}}
    if plan["minutes"] != minutes:
        raise ValueError(f"minutes={minutes}, but {kept} was made for {plan['minutes']}; choose another --runs")
    for path in configs:
        if path.stem not in plan["steps"]:
            probe = runs / f"{path.stem}.probe"
            shutil.rmtree(probe, ignore_errors=True)
            fit(path, probe, PROBE_STEPS, device)
            per_step = load_progress(probe / "last").train_seconds / PROBE_STEPS
            plan["steps"][path.stem] = max(1, round(60 * minutes / per_step))
            shutil.rmtree(probe)
            write_atomically(kept, json.dumps(plan, indent=2).encode())
    return plan["steps"]


def fit(config: Path, folder: Path, steps: int, device: str, *options: str) -> None:
    """Train for so many steps, or go on with what is there; a finished run is left alone; ``options`` are train.py's.

    Raises:
        ValueError: If the folder holds a run of another number of steps.
    """
    arguments = ["--config", str(config), f"--out={folder}", f"--train.steps={steps}", f"--device={device}", *options]
    if (folder / "last" / "training.pt").is_file():
        there = load_config(folder / "last")["train"]["steps"]
        if there != steps:
            raise ValueError(f"{folder} holds a run of {there} steps, wanted {steps}; choose another --runs")
        if load_progress(folder / "last").step == steps:
            return
        arguments.append("--resume=true")
    train(arguments)
    if load_progress(folder / "last").step < steps:
        raise SystemExit("Interrupted; the same command goes on")


def write(members: list[Member], out: Path) -> None:
    """The table, the numbers behind it, and the figure."""
    content = {
        "command": shlex.join(["python", *sys.argv]),
        "cpu_threads": torch.get_num_threads(),
        "members": {member.name: {"metrics": member.metrics, "validation": member.curve} for member in members},
    }
    write_atomically(out / "compare.json", (json.dumps(content, indent=2) + "\n").encode())
    write_atomically(out / "compare.md", table(members).encode())
    save_figure(draw(members), out / "compare.png")
    print(table(members))
    print(f"Written to {out}/compare.md, compare.json and compare.png")


def table(members: list[Member]) -> str:
    """Markdown, best bound first. Importance-weighted where it was asked for; exact without latents."""
    lines = [
        "| model | −ELBO, nats | bits/dim | importance-weighted, nats | KL, nats | parameters | images | minutes |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, metrics, _ in sorted(members, key=lambda member: -member.metrics["elbo_nats"]):
        weighted = metrics.get("nll_iwae_nats", -metrics["elbo_nats"])
        lines.append(
            f"| {name} | {-metrics['elbo_nats']:.2f} | {metrics['bits_per_dim']:.3f} | {weighted:.2f} "
            f"| {metrics['kl_nats']:.2f} | {metrics['num_parameters']:,} | {metrics['images_seen']:,} "
            f"| {metrics['train_seconds'] / 60:.1f} |"
        )
    return "\n".join(lines) + "\n"


def draw(members: list[Member]) -> Figure:
    """Validation nats against training time and against images seen, a line for each configuration."""
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for i, member in enumerate(members):
        style = {"color": COLOURS[i % len(COLOURS)], "linestyle": "-" if i < len(COLOURS) else "--"}
        for axes, total in zip(panels, ("train_seconds", "images_seen"), strict=True):
            x = [value / (60 if total == "train_seconds" else 1000) for value in member.scaled(member.metrics[total])]
            axes.plot(x, member.nats, marker="o", markersize=3, linewidth=1.6, label=member.name, **style)
    ends = [nats for member in members for nats in member.nats]
    worst = max(member.nats[min(1, len(member.nats) - 1)] for member in members)  # the first point leaves the picture
    panels[0].set_ylim(min(ends) - 0.05 * (worst - min(ends)) - 0.1, worst + 0.1)
    panels[0].set(ylabel="−ELBO on validation, nats", xlabel="minutes of training")
    panels[1].set(xlabel="thousand images seen")
    panels[1].legend(frameon=False)
    for axes in panels:
        axes.grid(color="#dddddd", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


if __name__ == "__main__":
    jsonargparse.auto_cli(main)
