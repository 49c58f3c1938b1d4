"""``--trust MODULE``: modules whose classes a checkpoint may name."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from pixelvae.models.assembly import parts_in


def trusted(modules: str | None) -> list[type]:
    """Import modules, also from the current folder; return the data sets and model parts in them.

    Args:
        modules: Names, separated by commas; None for no module.

    Raises:
        ValueError: If a module does not exist, or contains no such class.

    Example:
        >>> trusted("tests.nowhere")
        Traceback (most recent call last):
        ValueError: --trust tests.nowhere: there is no such module (No module named 'tests.nowhere')
    """
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        return [cls for name in (modules or "").split(",") if name for cls in _classes(name.strip())]
    finally:
        sys.path.remove(here)


def _classes(name: str) -> list[type]:
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ValueError(f"--trust {name}: there is no such module ({error})") from error
    found = parts_in(module)
    if not found:
        raise ValueError(f"--trust {name}: it holds no data set and no part of a model")
    return found
