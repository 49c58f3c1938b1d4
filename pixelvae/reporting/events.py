"""Read the TensorBoard events of a run."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


class Events(NamedTuple):
    """A run's curves and its newest pictures.

    Attributes:
        curves: name: (step, value) points, in order; a resumed run has one curve.
        pictures: name: (step, PNG file) of the newest picture of that name.
    """

    curves: dict[str, list[tuple[int, float]]]
    pictures: dict[str, tuple[int, bytes]]


def read_events(folder: Path) -> Events:
    """All curves and the newest pictures of a run; empty if it has none."""
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 1}).Reload()
    tags = events.Tags()
    newest = {name: events.Images(name)[-1] for name in tags["images"]}
    return Events(
        {name: [(event.step, event.value) for event in events.Scalars(name)] for name in tags["scalars"]},
        {name: (image.step, image.encoded_image_string) for name, image in newest.items()},
    )
