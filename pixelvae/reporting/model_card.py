"""The model card of published weights: data, licence, metrics, code to open them, and intended use."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pixelvae.storage import explained, read_yaml, write_atomically

LICENCES = {
    "BinarizedMNIST": "as of MNIST, CC BY-SA 3.0",
    "CIFAR10": "none stated by its publisher",
    "Digits": "CC BY 4.0 (UCI Machine Learning Repository)",
    "FashionMNIST": "MIT",
    "KMNIST": "CC BY-SA 4.0",
    "MNIST": "CC BY-SA 3.0",
    "MNIST5k": "as of MNIST, CC BY-SA 3.0",
    "SVHN": "non-commercial use only",
    "SpokenDigits": "CC BY-SA 4.0",
}
"""Licences of the data sets."""

PLACE = {"root", "download"}
"""Options of data for the place of the files, not for their content."""

NUMBERS = {
    "elbo_nats": ("−ELBO, nats", -1.0, "elbo_stderr_nats"),
    "nll_iwae_nats": ("importance-weighted −log p(x), nats", 1.0, "nll_iwae_stderr_nats"),
    "kl_nats": ("KL, nats", 1.0, ""),
    "bits_per_dim": ("bits/dim", 1.0, "bits_per_dim_stderr"),
    "train_elbo_nats": ("−ELBO on a part of train, nats", -1.0, "train_elbo_stderr_nats"),
    "active_units": ("active units", 1.0, ""),
    "linear_probe_accuracy": ("linear probe of h", 1.0, ""),
    "knn_accuracy": ("nearest neighbours of h", 1.0, ""),
}
"""Metric to its label, sign and standard error."""


def write_model_card(folder: Path, name: str) -> Path:
    """Write README.md beside the metrics.json and config.yaml of a published model.

    Args:
        folder: A folder of results, such as results/mnist/pixelvae_wide.
        name: Name of the model for ``pixelvae.load``, such as mnist/pixelvae_wide.

    Raises:
        ValueError: If a file is not JSON or YAML, or lacks an entry.
        StorageError: If a file cannot be read or written.
    """
    path = folder / "metrics.json"
    with explained(path, "read"):
        content = path.read_bytes()
    try:
        card = model_card(name, json.loads(content), read_yaml(folder / "config.yaml"))
    except (KeyError, TypeError) as error:
        raise ValueError(f"{folder}: metrics.json or config.yaml lacks {error}; run pixelvae evaluate again") from error
    write_atomically(folder / "README.md", card.encode())
    return folder / "README.md"


def model_card(name: str, metrics: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """The card as Markdown, from metrics.json and config.yaml.

    Example:
        >>> metrics = {"elbo_nats": -80.0, "num_test_images": 9, "num_parameters": 1234, "split": "test"}
        >>> metrics |= {"train_steps": 5, "images_seen": 40, "train_seconds": 60.0, "command": "pixelvae evaluate run"}
        >>> card = model_card("digits/small", metrics, {"data": {"class_path": "pixelvae.Digits"}, "seed": 0})
        >>> [line for line in card.splitlines() if "80.00" in line or "Licence of the data" in line]
        ['- Licence of the data: CC BY 4.0 (UCI Machine Learning Repository).', '| −ELBO, nats | 80.00 |']
    """
    data = config["data"]
    kind = str(data["class_path"]).rpartition(".")[2]
    arguments = {name: value for name, value in (data.get("init_args") or {}).items() if name not in PLACE}
    options = ", ".join(f"{option}={value!r}" for option, value in arguments.items())
    parts = [
        f"{part}: `{str(entry['class_path']).rpartition('.')[2]}`"
        for part in ("decoder", "encoder", "prior", "context", "likelihood")
        if (entry := config.get(part))
    ]
    minutes = metrics["train_seconds"] / 60
    weighted = ""
    if "num_importance_samples" in metrics:
        weighted = (
            f" The importance-weighted bound takes {metrics['num_importance_samples']:,} samples for each of "
            f"{metrics['num_iwae_images']:,} images."
        )
    lines = [
        f"# {name}",
        "",
        f"- Model: {'; '.join(parts)}; {metrics['num_parameters']:,} parameters.",
        f"- Data: `{kind}({options})`.",
        f"- Licence of the data: {LICENCES.get(kind, 'that of their owner')}.",
        "- Licence of the weights: MIT, as the repository.",
        f"- Training: {metrics['train_steps']:,} steps, {metrics['images_seen']:,} examples, {minutes:.0f} minutes, "
        f"seed {config.get('seed', 0)}.",
        "- Use: density estimation, latents, sampling and completion of such data, in research and teaching. The nats "
        "hold for these data, levels and binarisation alone.",
        "",
        f"Numbers of {metrics['num_test_images']:,} examples of the {metrics['split']} split, with their standard "
        f"errors.{weighted}",
        "",
        "| | |",
        "|---|---|",
        *_rows(metrics),
        "",
        "```python",
        "import pixelvae as pv",
        "",
        f'model = pv.load("{name}")',
        f'print(pv.evaluate(model, pv.load_data("{name}").{metrics["split"]}))',
        "```",
        "",
        f"The numbers were written by `{metrics['command']}`.",
        "",
    ]
    return "\n".join(lines)


def _rows(metrics: Mapping[str, Any]) -> list[str]:
    rows = []
    for metric, (label, sign, error) in NUMBERS.items():
        if metric in metrics:
            value = sign * metrics[metric]
            text = f"{value:.3f}" if metric == "bits_per_dim" else f"{value:.2f}"
            text = f"{value:.2%}" if metric.endswith("accuracy") else text
            text = f"{value:.0f}" if metric == "active_units" else text
            digits = 4 if metric == "bits_per_dim" else 2
            rows.append(f"| {label} | {text}{f' ± {metrics[error]:.{digits}f}' if error in metrics else ''} |")
    return rows
