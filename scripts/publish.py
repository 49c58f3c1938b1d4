"""Publish a model: ``python scripts/publish.py runs/mnist/pixelvae_wide mnist/pixelvae_wide URL``.

Writes the entry of results/weights.json and the model card. The file to upload to URL is RUN/best/model.safetensors.
Without a URL, the repository itself holds the weights, beside the metrics.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from pixelvae.checkpoint import checkpoint_folder, load, load_config
from pixelvae.commands.cli import run_script
from pixelvae.hub import TABLE, Weights, read_table
from pixelvae.reporting.model_card import write_model_card
from pixelvae.storage import write_atomically, write_json


def main(run: Path, name: str, url: str | None = None, results: Path = Path("results")) -> None:
    """Add the weights of a run to the repository or to the table of published weights, and write their model card.

    Args:
        run: A run or a checkpoint.
        name: Name of the model, DATASET/MODEL; results/DATASET/MODEL contains its metrics.json and config.yaml.
        url: Future address of the weights, such as an asset of a release; None for the repository itself.
        results: The folder of results.

    Raises:
        ValueError: If the configurations of the results and of the run differ.
    """
    checkpoint = checkpoint_folder(run)
    load(checkpoint)  # refuses damaged weights
    if load_config(checkpoint) != load_config(results / name):
        raise ValueError(f"{results / name}/config.yaml is not that of {checkpoint}; evaluate the run into that folder")
    content = (checkpoint / "model.safetensors").read_bytes()
    if url is None:
        write_atomically(results / name / "model.safetensors", content)
        print(f"Written to {results / name}/model.safetensors and {write_model_card(results / name, name)}")
        return
    entry = Weights(hashlib.sha256(content).hexdigest(), len(content), url)
    table = {**read_table(results), name: entry}
    write_json(results / TABLE, {key: table[key]._asdict() for key in sorted(table)})
    card = write_model_card(results / name, name)
    print(json.dumps(entry._asdict(), indent=2))
    print(f"Written to {results / TABLE} and {card}; upload {checkpoint / 'model.safetensors'} to {url}")


if __name__ == "__main__":
    run_script(main)
