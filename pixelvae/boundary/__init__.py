"""The boundary: checks of what comes from outside, each made once, at the entry of a public verb.

A function takes a value as a user gives it and returns it as the model wants it. It raises ValueError with what was
given, what is wanted and the likely cause. Code behind the boundary checks nothing again.
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
