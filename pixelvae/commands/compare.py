"""Compare configurations after equal training: ``pixelvae compare "[mnist/pixelcnn, mnist/row_lstm]" --steps N``."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from matplotlib.figure import Figure

from pixelvae.checkpoint import load_progress
from pixelvae.commands.configs import find_config
from pixelvae.commands.evaluate import main as evaluate
from pixelvae.commands.train import run_to_end
from pixelvae.evaluation.metrics import difference_metrics
from pixelvae.evaluation.per_image import read_per_image
from pixelvae.reporting.events import read_events
from pixelvae.reporting.figures import COLOURS, save_figure
from pixelvae.reporting.provenance import command_line
from pixelvae.storage import write_atomically, write_json
from pixelvae.training.budget import planned_steps

PROBE_STEPS = 30  # steps of the measurement for an equal training time


class Member(NamedTuple):
    """The result of one configuration; its validation curve has points (step, nats per example)."""

    name: str
    metrics: dict[str, Any]
    curve: list[tuple[int, float]]

    @property
    def nats(self) -> list[float]:
        """−ELBO on validation."""
        return [nats for _, nats in self.curve]

    def scaled(self, total: float) -> list[float]:
        """The share of ``total`` used up to each point of the curve, assuming equal cost of the steps."""
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

    The same command resumes an interrupted comparison; finished runs are kept. For an equal time, a short run of each
    configuration determines its number of steps, so that every learning rate decays fully. RUNS/plan.json stores the
    numbers of steps.

    Args:
        configs: Configurations of pixelvae train by their names or files, all on the same data.
        steps: Updates for each; exclusive with ``minutes``.
        minutes: Training time for each, without validation and pictures; exclusive with ``steps``.
        out: Folder for compare.md, compare.json, compare.png, and NAME/metrics.json for each configuration.
        runs: Folder for checkpoints, RUNS/NAME.
        num_samples: Draws of h per image for the importance-weighted bound; 0 omits that bound.
        iwae_images: Images of the importance-weighted bound, spread over the split; all by default.
        device: cpu, cuda, cuda:1, mps ...; auto is the accelerator, or the CPU where there is none.
    """
    configs = [find_config(config) for config in configs]
    check(configs, steps, minutes)
    paths = {path.stem: path for path in configs}
    if steps is not None:
        plan = dict.fromkeys(paths, steps)
    else:
        assert minutes is not None  # check() requires one of the two
        plan = planned_steps(
            paths, minutes, runs / "plan.json", lambda name: seconds_per_step(paths[name], runs, device)
        )
    members = []
    for name, path in paths.items():
        folder = runs / name
        run_to_end(path, folder, plan[name], device)
        metrics = evaluate(folder / "best", out / name, num_samples, iwae_images, device=device)
        whole = load_progress(folder / "last")  # metrics.json has the progress of the best checkpoint
        metrics |= {"train_steps": whole.step, "images_seen": whole.images_seen}
        metrics |= {"train_seconds": round(whole.train_seconds, 1)}
        curve = [(step, -elbo) for step, elbo in read_events(folder).curves["validation/elbo_nats"]]
        members.append(Member(name, metrics, curve))
    members = with_differences(members, out)
    write(members, out)
    return members


def check(configs: list[Path], steps: int | None, minutes: float | None) -> None:
    """Check, before any work, that the configurations can be compared.

    Raises:
        ValueError: If two have one name, their data differ, or not one of the budgets is given.
    """
    if (steps is None) == (minutes is None):
        raise ValueError(f"steps={steps} and minutes={minutes}; give one of --steps and --minutes")
    if (steps if steps is not None else minutes or 0) <= 0:
        raise ValueError(f"steps={steps}, minutes={minutes}; wanted more than 0")
    if not configs:
        raise ValueError("configs: wanted at least one")
    names = [path.stem for path in configs]
    if len(set(names)) < len(names):
        raise ValueError(f"configs are named {names}; wanted a different file name for each, for it names the result")
    data = {path.stem: yaml.safe_load(path.read_text()).get("data") for path in configs}
    different = [name for name in names if data[name] != data[names[0]]]
    if different:
        raise ValueError(
            f"data of {different[0]} is {data[different[0]]}, of {names[0]} {data[names[0]]}; wanted the same"
        )


def seconds_per_step(config: Path, runs: Path, device: str) -> float:
    """Measure a short run of a configuration, and remove it."""
    probe = runs / f"{config.stem}.probe"
    shutil.rmtree(probe, ignore_errors=True)
    run_to_end(config, probe, PROBE_STEPS, device)
    seconds = load_progress(probe / "last").train_seconds
    shutil.rmtree(probe)
    return seconds / PROBE_STEPS


def with_differences(members: list[Member], out: Path) -> list[Member]:
    """Add to each member's metrics its paired difference to the best one, over the same test images."""
    best = max(members, key=lambda member: member.metrics["elbo_nats"])
    reference = read_per_image(out / best.name)
    return [
        member._replace(
            metrics={
                **member.metrics,
                **difference_metrics(read_per_image(out / member.name), reference),
                "difference_against": best.name,
            }
        )
        for member in members
    ]


def write(members: list[Member], out: Path) -> None:
    """The table, the numbers behind it, and the figure."""
    content = {
        "command": command_line(),
        "cpu_threads": torch.get_num_threads(),
        "members": {member.name: {"metrics": member.metrics, "validation": member.curve} for member in members},
    }
    write_json(out / "compare.json", content)
    write_atomically(out / "compare.md", table(members).encode())
    save_figure(draw(members), out / "compare.png")
    print(table(members))
    print(f"Written to {out}/compare.md, compare.json and compare.png")


def table(members: list[Member]) -> str:
    """A Markdown table, sorted by the bound: importance-weighted if available, exact without latents.

    Errors are standard errors over the test images; that of the difference to the first row is paired.
    """
    lines = [
        "| model | −ELBO, nats | bits/dim | importance-weighted, nats | worse than the first by, nats | KL, nats "
        "| parameters | images | minutes |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, metrics, _ in sorted(members, key=lambda member: -member.metrics["elbo_nats"]):
        weighted = metrics.get("nll_iwae_nats", -metrics["elbo_nats"])
        lines.append(
            f"| {name} | {with_error(-metrics['elbo_nats'], metrics.get('elbo_stderr_nats'))} "
            f"| {metrics['bits_per_dim']:.3f} | {with_error(weighted, metrics.get('nll_iwae_stderr_nats'))} "
            f"| {difference(metrics, name)} | {metrics['kl_nats']:.2f} | {metrics['num_parameters']:,} "
            f"| {metrics['images_seen']:,} | {metrics['train_seconds'] / 60:.1f} |"
        )
    return "\n".join(lines) + "\n"


def with_error(value: float, stderr: float | None) -> str:
    """Two decimals, with the standard error where there is one."""
    return f"{value:.2f}" if stderr is None else f"{value:.2f} ± {stderr:.2f}"


def difference(metrics: dict[str, Any], name: str) -> str:
    """How much worse than the best member, in nats; a dash for the best member itself."""
    if metrics["difference_against"] == name:
        return "—"
    return with_error(-metrics["difference_nats"], metrics.get("difference_stderr_nats"))


def draw(members: list[Member]) -> Figure:
    """Validation nats against training time and images seen, one line for each configuration."""
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for i, member in enumerate(members):
        style = {"color": COLOURS[i % len(COLOURS)], "linestyle": "-" if i < len(COLOURS) else "--"}
        for axes, total in zip(panels, ("train_seconds", "images_seen"), strict=True):
            x = [value / (60 if total == "train_seconds" else 1000) for value in member.scaled(member.metrics[total])]
            axes.plot(x, member.nats, marker="o", markersize=3, linewidth=1.6, label=member.name, **style)
    ends = [nats for member in members for nats in member.nats]
    worst = max(member.nats[min(1, len(member.nats) - 1)] for member in members)  # not the first point
    panels[0].set_ylim(min(ends) - 0.05 * (worst - min(ends)) - 0.1, worst + 0.1)
    panels[0].set(ylabel="−ELBO on validation, nats", xlabel="minutes of training")
    panels[1].set(xlabel="thousand images seen")
    panels[1].legend(frameon=False)
    for axes in panels:
        axes.grid(color="#dddddd", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    return figure
