"""Committed results come from the committed configurations."""

from pathlib import Path

import pytest
import yaml

from pixelvae.training.run_folder import differences

ROOT = Path(__file__).parent.parent
KEPT = sorted((ROOT / "results").glob("**/config.yaml"))
COLOUR = {f"cifar10_jpeg/{name}": f"image_folder/{name}_cpu" for name in ("factorised", "gated_pixelcnn", "pixelvae")}
OTHERS = {"mnist/latents": "mnist/pixelvae_consistent"} | COLOUR
"""Results of the run of another folder, or of a configuration with another name."""


def with_numbers(tree):
    """Plain YAML reads 2e-3 as a text."""
    if isinstance(tree, dict):
        return {name: with_numbers(value) for name, value in tree.items()}
    try:
        return float(tree) if isinstance(tree, str) else tree
    except ValueError:
        return tree


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.parent.relative_to(ROOT / "results").as_posix())
def test_a_result_has_the_configuration_of_its_name(path):
    name = path.parent.relative_to(ROOT / "results").as_posix()
    config = ROOT / "configs" / f"{OTHERS.get(name, name)}.yaml"
    kept, committed = (with_numbers(yaml.safe_load(file.read_text())) for file in (path, config))
    assert differences(kept, committed) == {}
