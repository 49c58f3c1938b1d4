"""Range checks of options; an error states the given and the expected value in one line."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

MAX_LAYERS = 10_000
"""Maximum number of layers or stages."""

MAX_WIDTH = 2**20
"""Maximum number of features, latents, components or levels."""

MAX_COUNT = 2**31 - 1
"""Maximum number of steps and of examples."""


def require(
    name: str,
    value: Any,
    *,
    least: float | None = None,
    most: float | None = None,
    above: float | None = None,
    below: float | None = None,
    whole: bool = False,
) -> None:
    """Check that an option is a finite number in a range.

    Args:
        name: Name of the option, for the message.
        value: The given value.
        least: Minimum, inclusive.
        most: Maximum, inclusive.
        above: Minimum, exclusive.
        below: Maximum, exclusive.
        whole: Whether it must be a whole number.

    Raises:
        ValueError: If it is not; states the given and the expected value.

    Example:
        >>> require("ema_decay", 1.0, least=0, below=1)
        Traceback (most recent call last):
        ...
        ValueError: ema_decay=1.0; wanted a number of at least 0 and less than 1
    """
    number = isinstance(value, Integral if whole else Real) and not isinstance(value, bool)
    if (
        number
        and math.isfinite(value)
        and (least is None or value >= least)
        and (most is None or value <= most)
        and (above is None or value > above)
        and (below is None or value < below)
    ):
        return
    limits = {"at least": least, "more than": above, "at most": most, "less than": below}
    wanted = " and ".join(f"{word} {limit:,}" for word, limit in limits.items() if limit is not None)
    kind = "a whole number" if whole else "a number"
    raise ValueError(f"{name}={value!r}; wanted {kind}{' of ' if wanted else ''}{wanted}")


def require_count(name: str, value: Any, *, least: int = 1, most: int = MAX_WIDTH) -> int:
    """A whole number in a range, 1 .. 2²⁰ by default.

    Raises:
        ValueError: If it is not.
    """
    require(name, value, least=least, most=most, whole=True)
    return int(value)


def require_odd(name: str, value: Any, *, least: int = 1, most: int = MAX_WIDTH) -> None:
    """Check that the size of a kernel is odd.

    Raises:
        ValueError: If it is even, not a whole number, or out of range.
    """
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not whole or not least <= int(value) <= most or int(value) % 2 == 0:
        raise ValueError(f"{name}={value!r}; wanted an odd number of at least {least}")


def require_counts(name: str, values: Any, *, least: int = 1, length: int | None = None) -> None:
    """Check that an option is a list of whole numbers in 1 .. 2²⁰.

    Args:
        name: Name of the option, for the message.
        values: The given value.
        least: Minimum number of entries.
        length: The number of entries, if it is fixed.

    Raises:
        ValueError: If it is not.
    """
    wanted = f"a list of {length if length is not None else f'{least} .. {MAX_LAYERS:,}'} whole numbers"
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise ValueError(f"{name}={values!r}; wanted {wanted}")
    if not (least <= len(values) <= MAX_LAYERS if length is None else len(values) == length):
        shown = repr(values) if len(values) < 10 else f"{len(values):,} entries"
        raise ValueError(f"{name}={shown}; wanted {wanted}")
    for i, value in enumerate(values):
        require_count(f"{name}[{i}]", value)


def require_one_of(name: str, value: Any, choices: Sequence[Any]) -> None:
    """Check that an option is one of several values, of the same type.

    Raises:
        ValueError: If it is not.
    """
    if not any(value is choice or (type(value) is type(choice) and value == choice) for choice in choices):
        raise ValueError(f"{name}={value!r}; wanted one of {', '.join(map(repr, choices))}")
