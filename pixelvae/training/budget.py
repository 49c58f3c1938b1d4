"""Equal training time for several configurations, as a number of steps for each."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from pixelvae.storage import write_json


def planned_steps(
    names: Iterable[str], minutes: float, plan: Path, seconds_per_step: Callable[[str], float]
) -> dict[str, int]:
    """Steps of each configuration that take ``minutes``. A budget in steps lets every learning rate decay fully.

    Args:
        names: The configurations.
        minutes: Training time for each.
        plan: JSON file that stores the steps, so that a restarted comparison trains the same number of steps.
        seconds_per_step: Measures a configuration; called only for those that the plan does not contain yet.

    Raises:
        ValueError: If the plan was made for another training time.
    """
    kept: dict[str, Any] = json.loads(plan.read_text()) if plan.is_file() else {"minutes": minutes, "steps": {}}
    if kept["minutes"] != minutes:
        raise ValueError(f"minutes={minutes}, but {plan} was made for {kept['minutes']}; choose another --runs")
    for name in names:
        if name not in kept["steps"]:
            kept["steps"][name] = max(1, round(60 * minutes / seconds_per_step(name)))
            write_json(plan, kept)
    return kept["steps"]
