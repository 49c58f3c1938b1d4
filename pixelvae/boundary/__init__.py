"""Checks of arguments from users, each made once, at the entry of a public function.

A function takes a value from the user and returns it in the form that the model expects. It raises ValueError with
the given value, the expected one and the likely cause. Internal code does not check again.
"""

from pixelvae.boundary.arguments import (
    require_seed,
    require_sources,
    require_split,
    require_temperature,
)
from pixelvae.boundary.labels import Labels, require_labels, require_labels_along
from pixelvae.boundary.latents import require_ends, require_latents
from pixelvae.boundary.levels import require_batch, require_known, require_levels

__all__ = [
    "Labels",
    "require_batch",
    "require_ends",
    "require_known",
    "require_labels",
    "require_labels_along",
    "require_latents",
    "require_levels",
    "require_seed",
    "require_sources",
    "require_split",
    "require_temperature",
]
