"""Published models by name, such as ``mnist/pixelvae_wide``: shipped, cached, or downloaded by hash."""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any, NamedTuple

import platformdirs

from pixelvae.download import DownloadError, fetch
from pixelvae.storage import explained, write_atomically
from pixelvae.weights import CheckpointError

# In an installed package the results lie inside it; in a working copy, beside it.
PLACES = (Path(__file__).parent / "results", Path(__file__).parents[1] / "results")

TABLE = "weights.json"
"""File in the results folder that maps names to sha256, size and url of downloadable weights."""

_NAME = re.compile(r"[a-z0-9_]+/[a-z0-9_]+")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class Weights(NamedTuple):
    """Published weights: the hash and the bytes of model.safetensors, and its address."""

    sha256: str
    size: int
    url: str


def published_folder(name: str | Path) -> Path | None:
    """The checkpoint of a published model; None if the name is not one.

    The weights come from results/DATASET/MODEL if they are there; else from the cache (the folder ``PIXELVAE_CACHE``,
    or the user's cache folder); else from a download, if their hash is known.

    Raises:
        CheckpointError: If the weights are not published, cannot be downloaded, or have another hash.
    """
    name = Path(name).as_posix()
    results = results_folder()
    config = results / name / "config.yaml"
    if _NAME.fullmatch(name) is None or not config.is_file():
        return None
    if (config.parent / "model.safetensors").is_file():
        return config.parent
    table = read_table(results)
    if name not in table:
        names = ", ".join(sorted(table)) or "none yet"
        raise CheckpointError(
            f"{name}: there are no published weights of this model (published: {names}); train it with "
            f"pixelvae train {name}, or give the folder of a run"
        )
    wanted = table[name]
    folder = cache() / name / wanted.sha256[:16]
    weights = folder / "model.safetensors"
    if not is_whole(weights, wanted):
        write_atomically(weights, download(name, wanted))
    with explained(config, "read"):
        content = config.read_bytes()
    if not (folder / "config.yaml").is_file() or (folder / "config.yaml").read_bytes() != content:
        write_atomically(folder / "config.yaml", content)
    return folder


def name_of(checkpoint: Path) -> str | None:
    """The name of the published model with this checkpoint; None for the checkpoint of a run."""
    for place in (results_folder(), cache()):
        if checkpoint.resolve().is_relative_to(place.resolve()):
            return "/".join(checkpoint.resolve().relative_to(place.resolve()).parts[:2])
    return None


def results_folder() -> Path:
    """The folder of the configurations of published models."""
    return next((place for place in PLACES if place.is_dir()), PLACES[0])


def cache() -> Path:
    """The folder of downloaded weights."""
    return Path(os.environ.get("PIXELVAE_CACHE") or platformdirs.user_cache_dir("pixelvae")) / "weights"


def read_table(results: Path) -> dict[str, Weights]:
    """Published weights by name of their model; empty without a table.

    Raises:
        CheckpointError: If the table is damaged, or an entry has no hash.
    """
    path = results / TABLE
    if not path.is_file():
        return {}
    try:
        with explained(path, "read"):
            content = json.loads(path.read_text())
        return {name: _entry(name, given) for name, given in content.items()}
    except (ValueError, AttributeError) as error:
        raise CheckpointError(f"{path} does not list published weights: {error}") from error


def _entry(name: str, given: Any) -> Weights:
    """Check one entry of the table."""
    fields = given if isinstance(given, dict) else {}
    sha256, size, url = (fields.get(field) for field in Weights._fields)
    if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
        raise ValueError(f"{name} has sha256 {sha256!r}; wanted 64 hexadecimal digits: no download without a hash")
    if type(size) is not int or size < 1 or not isinstance(url, str):
        raise ValueError(f"{name} has size {size!r} and url {url!r}; wanted a number of bytes and an address")
    return Weights(sha256, size, url)


def is_whole(path: Path, wanted: Weights) -> bool:
    """Whether a file has the published size and hash."""
    if not path.is_file() or path.stat().st_size != wanted.size:
        return False
    with explained(path, "read"):
        return hashlib.sha256(path.read_bytes()).hexdigest() == wanted.sha256


def download(name: str, wanted: Weights) -> bytes:
    """Download the published bytes, and check size and hash.

    Raises:
        CheckpointError: If they cannot be downloaded, or have another hash.
    """
    try:
        content = fetch(wanted.url, limit=wanted.size)
    except DownloadError as error:
        raise CheckpointError(f"{name}: {error}; give the folder of a run, or try again") from error
    found = hashlib.sha256(content).hexdigest()
    if found != wanted.sha256:
        raise CheckpointError(
            f"{name}: {wanted.url} has sha256 {found}, wanted {wanted.sha256}: other weights; nothing was kept"
        )
    return content
