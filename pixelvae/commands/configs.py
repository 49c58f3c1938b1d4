"""Configurations of ``pixelvae train``: shipped ones by name, others by file."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import yaml

from pixelvae.commands.names import did_you_mean

# In an installed package the configurations lie inside it; in a working copy, beside it.
PLACES = (Path(__file__).parents[1] / "configs", Path(__file__).parents[2] / "configs")


def shipped() -> dict[str, Path]:
    """Files of the shipped configurations by name, such as ``mnist5k/pixelvae``."""
    folder = next((place for place in PLACES if place.is_dir()), PLACES[0])
    return {file.relative_to(folder).with_suffix("").as_posix(): file for file in sorted(folder.glob("*/*.yaml"))}


def find_config(name: str | Path) -> Path:
    """The file of a configuration.

    Args:
        name: A file, or the name of a shipped configuration, also with ``configs/`` before and ``.yaml`` after it.

    Raises:
        ValueError: If there is neither; the message has the nearest names.

    Example:
        >>> find_config("mnist5k/pixelvae").name, find_config("configs/mnist5k/pixelvae.yaml").name
        ('pixelvae.yaml', 'pixelvae.yaml')
    """
    if Path(name).is_file():
        return Path(name)
    configs, short = shipped(), str(name).removeprefix("configs/").removesuffix(".yaml")
    if short not in configs:
        advice = did_you_mean(short, configs, "pixelvae train --list names those that are shipped")
        raise ValueError(f"config={str(name)!r} is neither a file nor a shipped configuration; {advice}")
    return configs[short]


def read_config(file: Path, options: Collection[str]) -> dict[str, Any]:
    """Read a configuration, whose keys must be options of ``pixelvae train``.

    Raises:
        ValueError: If the file is not a mapping, or has a key that is not an option.
    """
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{file} is no YAML file: {error}") from error
    if not isinstance(content, Mapping):
        raise ValueError(f"{file} holds {type(content).__name__}; wanted options of pixelvae train and their values")
    for key in content:
        if key not in options:
            raise ValueError(f"{file}: there is no option {key!r}; {did_you_mean(str(key), options, 'remove it')}")
    for key in ("train", "objective"):
        if key in content and not isinstance(content[key], Mapping):
            raise ValueError(f"{file}: {key} is {content[key]!r}; wanted its options and their values, or no {key}")
    return dict(content)


def listing() -> str:
    """The shipped configurations, with the first line of the comment at the top of each."""
    configs = shipped()
    width = max(map(len, configs), default=0)
    comments = {name: file.read_text(encoding="utf-8").partition("\n")[0] for name, file in configs.items()}
    lines = [f"  {name:{width}}  {comment.lstrip('# ')}".rstrip() for name, comment in comments.items()]
    return "\n".join([*lines, "", "pixelvae train NAME --out FOLDER trains one; every option can be changed."])
