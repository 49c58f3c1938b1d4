"""Measure the rate-distortion trade-off: ``pixelvae rate-distortion mnist/rate_distortion``."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from matplotlib.figure import Figure

from pixelvae.checkpoint import load
from pixelvae.commands.checkpoints import training_metrics
from pixelvae.commands.configs import find_config
from pixelvae.commands.train import run_to_end
from pixelvae.data import DATA_SETS, DataSet
from pixelvae.distributed import World, connect
from pixelvae.evaluation.metrics import bound_metrics, information_metrics, pixel_probe_metrics
from pixelvae.evaluation.probes import probe_latents
from pixelvae.models.assembly import factory
from pixelvae.reporting.figures import COLOURS, save_figure
from pixelvae.reporting.provenance import command_line, environment
from pixelvae.storage import write_atomically, write_json
from pixelvae.training.objective import Objective

PROBES = {"linear_probe_accuracy": "linear probe", "knn_accuracy": "nearest neighbours"}
BESIDE = {"pixels": "--", "pca": ":"}


class Point(NamedTuple):
    """One model of the sweep: the target rate in nats, and its metrics on the test set."""

    rate: float
    metrics: dict[str, Any]


def main(
    configuration: Path,
    rates: list[float] = [2, 5, 10, 20, 40],  # noqa: B006 (jsonargparse copies it)
    out: Path = Path("runs/rate_distortion"),
    results: Path = Path("results/rate_distortion"),
    steps: int | None = None,
    num_samples: int = 0,
    probe_images: int = 50_000,
    seed: int = 0,
    device: str = "auto",
) -> list[Point]:
    """Train one model for each rate with equal steps, and draw nats and probe accuracy against the measured rate.

    The same command resumes an interrupted sweep; finished runs and evaluations are kept. The last weights of each run
    are evaluated, because the weights of the best bound may have another rate.

    Args:
        configuration: Configuration of pixelvae train for a model with latents, by its name or file; its
            objective.rate is replaced.
        rates: Target KL of each model in nats per example.
        out: Folder for checkpoints and kept evaluations, OUT/rate_R.
        results: Folder for results.json, table.md, rate_distortion.png, config.yaml and environment.txt.
        steps: Updates for each; by default the configuration's train.steps.
        num_samples: Draws of h per image for the importance-weighted bound; 0 omits that bound.
        probe_images: Maximum number of training images for the probes, spread over the train split.
        seed: Seed of the evaluation's noise.
        device: cpu, cuda, cuda:1, mps ...; auto is the accelerator, or the CPU where there is none.
    """
    configuration = find_config(configuration)
    content, data = check(configuration, rates, probe_images)
    steps = content["train"]["steps"] if steps is None else steps
    world = connect(device)
    settings = {"steps": steps, "num_samples": num_samples, "probe_images": probe_images, "seed": seed}
    points = []
    for rate in sorted(rates):
        folder = out / f"rate_{rate:g}"
        run_to_end(configuration, folder, steps, device, f"--objective.rate={rate:g}")
        print(f"rate {rate:g}: evaluating {folder}/last ...", flush=True)
        measured = kept(folder / "sweep.json", settings, partial(evaluate, folder, data, settings, world))
        points.append(Point(rate, measured))
    print("Probes of pixels and of their principal components ...", flush=True)
    about = {"data": content["data"], "latent_dim": content["latent_dim"], "probe_images": probe_images}
    probe_beside = partial(pixel_probe_metrics, data, data.test, latent_dim=content["latent_dim"])
    beside = kept(out / "pixels.json", about, partial(probe_beside, max_images=probe_images))
    write(points, beside, configuration, settings, results)
    return points


def check(config: Path, rates: list[float], probe_images: int) -> tuple[dict[str, Any], DataSet]:
    """Load the configuration and its data, and check that they suit a sweep of rates.

    Raises:
        ValueError: If a rate is not positive, there are no latents or labels, or the objective has another weight of
            the KL.
    """
    content = yaml.safe_load(config.read_text())
    if not rates or min(rates) <= 0 or len(set(rates)) < len(rates):
        raise ValueError(f"rates={rates}; wanted different numbers of nats above 0, such as [2, 5, 10]")
    if not content.get("encoder"):
        raise ValueError(f"{config} has encoder: null; wanted a model with latents")
    if probe_images < 100:
        raise ValueError(f"probe_images={probe_images}; wanted at least 100")
    Objective(**(content.get("objective") or {}) | {"rate": rates[0]})
    data = factory(content["data"], DATA_SETS, "data")()
    if not data.spec.num_classes:
        raise ValueError(f"{config}: the data set has no labels to probe for")
    return content, data


def kept(path: Path, settings: dict[str, Any], compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The metrics in ``path`` if they have the same settings; else compute and store them."""
    if path.is_file():
        content = json.loads(path.read_text())
        if content["settings"] == settings:
            return content["metrics"]
    metrics = compute()
    write_json(path, {"settings": settings, "metrics": metrics})
    return metrics


def evaluate(folder: Path, data: DataSet, settings: dict[str, Any], world: World) -> dict[str, Any]:
    """The bound, the information and the probes of a run's last weights on the test set."""
    model = load(folder / "last", device=world.device)
    assert model.has_latents
    seed = settings["seed"]
    metrics = bound_metrics(model, data.test, num_samples=settings["num_samples"], seed=seed, world=world)
    metrics |= information_metrics(model, data.test, metrics, seed=seed, world=world)
    probed = probe_latents(model, data, data.test, device=world.device, max_images=settings["probe_images"])
    return metrics | probed.metrics() | training_metrics(folder / "last", model)


def write(points: list[Point], beside: dict[str, Any], config: Path, settings: dict[str, Any], results: Path) -> None:
    """The numbers, the table and the figure."""
    content = {
        "command": command_line(),
        "cpu_threads": torch.get_num_threads(),
        "settings": settings,
        "beside": beside,
        "rates": {f"{point.rate:g}": point.metrics for point in points},
    }
    write_json(results / "results.json", content)
    write_atomically(results / "table.md", table(points, beside).encode())
    write_atomically(results / "config.yaml", config.read_bytes())
    write_atomically(results / "environment.txt", environment().encode())
    title = f"{config.parent.name}/{config.stem}, {settings['steps']:,} steps each, test set"
    save_figure(draw(points, beside, title), results / "rate_distortion.png")
    print(table(points, beside))
    print(f"Written to {results}/results.json, table.md and rate_distortion.png")


def table(points: list[Point], beside: dict[str, Any]) -> str:
    """A Markdown table with one row for each rate, one for pixels and one for principal components."""
    lines = [
        "| rate asked for | rate, nats | distortion | −ELBO | mutual information | active | linear probe | k-NN |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for rate, metrics in points:
        shown = f"{metrics['mutual_information_nats']:.2f} of ≤ {metrics['mutual_information_cap_nats']:.2f}"
        lines.append(
            f"| {rate:g} | {metrics['rate_nats']:.2f} | {metrics['distortion_nats']:.2f} "
            f"| {-metrics['elbo_nats']:.2f} | {shown} | {metrics['active_units']} "
            f"| {metrics['linear_probe_accuracy']:.2%} | {metrics['knn_accuracy']:.2%} |"
        )
    for name in BESIDE:
        cells = [f"{beside[f'{probe}_{name}']:.2%}" for probe in PROBES]
        lines.append(f"| {_spelt(name)} | | | | | | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def draw(points: list[Point], beside: dict[str, Any], title: str) -> Figure:
    """Nats and probe accuracy against the measured rate; accuracies on pixels are horizontal lines."""
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    nats, accuracy = figure.subplots(1, 2)
    figure.suptitle(title, fontsize=11)
    points = sorted(points, key=lambda point: point.metrics["rate_nats"])
    reached = [point.metrics["rate_nats"] for point in points]
    for colour, name, sign, label in (
        (COLOURS[2], "elbo_nats", -1, "−ELBO = distortion + rate"),
        (COLOURS[3], "distortion_nats", 1, "distortion, −E[log p(x|h)]"),
    ):
        values = [sign * point.metrics[name] for point in points]
        nats.plot(reached, values, marker="o", markersize=4, linewidth=1.6, color=colour, label=label)
    nats.set(ylabel="nats per example")
    for colour, (name, label) in zip(COLOURS, PROBES.items(), strict=False):
        values = [100 * point.metrics[name] for point in points]
        accuracy.plot(reached, values, marker="o", markersize=4, linewidth=1.6, color=colour, label=f"{label}, h")
        for other, style in BESIDE.items():
            level = 100 * beside[f"{name}_{other}"]
            accuracy.axhline(level, color=colour, linestyle=style, linewidth=1.1, label=f"{label}, {_spelt(other)}")
    accuracy.set(ylabel="test accuracy, %")
    for axes in (nats, accuracy):
        axes.set(xlabel="rate reached, KL(q(h|x) ‖ p(h)) in nats", xlim=(0, None))
        axes.grid(color="#dddddd", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=8)
    return figure


def _spelt(name: str) -> str:
    return {"pixels": "pixels", "pca": "PCA"}[name]
