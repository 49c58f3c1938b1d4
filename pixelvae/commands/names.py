"""Suggestions for misspelt options, classes, commands and configurations."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(name: str, names: Iterable[str], count: int = 2) -> list[str]:
    """The most similar of some names, most probable first.

    A prefix matches all names that begin with it; the last part of a dotted name matches the whole.

    Example:
        >>> nearest("train.learning_rat", ["train.learning_rate", "train.steps"])
        ['train.learning_rate']
        >>> nearest("num", ["num_images", "num_draws", "seed"]), nearest("batch_sise", ["train.batch_size"])
        (['num_images', 'num_draws'], ['train.batch_size'])
    """
    known = list(names)
    if begun := [other for other in known if other.startswith(name)]:
        return begun[:count]
    if similar := difflib.get_close_matches(name, known, n=count, cutoff=0.7):
        return similar
    by_last_part = {other.rpartition(".")[2]: other for other in reversed(known)}
    return [by_last_part[part] for part in difflib.get_close_matches(name, by_last_part, n=count, cutoff=0.7)]


def did_you_mean(name: str, names: Iterable[str], otherwise: str, *, prefix: str = "") -> str:
    """The end of a message about an unknown name.

    Args:
        name: The given name.
        names: The valid names.
        otherwise: Advice if no name is similar.
        prefix: Prefix of every name, such as the dashes of an option.

    Example:
        >>> did_you_mean("GatedPixelCN", ["GatedPixelCNN", "RowLSTM"], "wanted another")
        'did you mean GatedPixelCNN?'
    """
    found = [f"{prefix}{other}" for other in nearest(name, names)]
    return f"did you mean {' or '.join(found)}?" if found else otherwise
