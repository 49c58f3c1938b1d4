"""Train on 5,000 embedded digits, evaluate, and draw pictures, in a few minutes: ``pixelvae demo``."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

from pixelvae.commands.complete import main as complete
from pixelvae.commands.evaluate import main as evaluate
from pixelvae.commands.interpolate import main as interpolate
from pixelvae.commands.reconstruct import main as reconstruct
from pixelvae.commands.sample import main as sample
from pixelvae.commands.train import run_or_resume

CONFIG = "mnist5k/pixelvae"
TRAIN_IMAGES = 500
"""Training images whose bound is measured too: as many as there are test images."""


def main(out: Path = Path("runs/demo"), num_samples: int = 64, publish: Path | None = None) -> None:
    """Train one PixelVAE, evaluate it beside the committed baselines, and draw its pictures.

    Args:
        out: The run's folder. An existing run is continued.
        num_samples: Draws of h for each image of the importance-weighted bound.
        publish: A folder for copies of metrics, config, environment and pictures, such as results/mnist5k/pixelvae.
    """
    start = time.perf_counter()
    run_or_resume(CONFIG, out)
    metrics = evaluate(out / "best", out=out, num_samples=num_samples, train_elbo=TRAIN_IMAGES)
    sample(out / "best", out=out)
    reconstruct(out / "best", out=out)
    interpolate(out / "best", out=out)
    complete(out / "best", out=out)
    if publish:
        publish.mkdir(parents=True, exist_ok=True)
        kept = ("metrics.json", "per_image.safetensors", "config.yaml", "environment.txt")
        for path in (*out.glob("*.png"), *(out / name for name in kept)):
            shutil.copyfile(path, publish / path.name)
    print(table(metrics))
    print(f"\n{time.perf_counter() - start:.0f} s in all. Pictures: {', '.join(map(str, sorted(out.glob('*.png'))))}")
    print("TensorBoard: make tensorboard")


def table(metrics: dict) -> str:
    """Print this run and the baselines in results/mnist5k, all with bounds on log p(x | class)."""
    names = {
        "histogram": "per-pixel histogram",
        "factorised": "factorised decoder (plain VAE)",
        "gated_pixelcnn": "same decoder, no latents",
    }
    rows = [
        (title, json.loads(path.read_text()))
        for name, title in names.items()
        if (path := Path(f"results/mnist5k/{name}/metrics.json")).is_file()
    ]
    lines = [
        f"\n{'500 test digits, given the class':33}{'−ELBO nats':>12}{'bits/dim':>10}{'IWAE nats':>11}{'KL nats':>9}"
    ]
    for title, row in [*rows, ("PixelVAE (this run)", metrics)]:
        iwae = row.get("nll_iwae_nats", -row["elbo_nats"])
        lines.append(f"{title:33}{-row['elbo_nats']:12.2f}{row['bits_per_dim']:10.3f}{iwae:11.2f}{row['kl_nats']:9.2f}")
    return "\n".join(lines)
