"""Equal time as numbers of steps."""

import json

import pytest

from pixelvae.training.budget import planned_steps

SECONDS = {"fast": 0.5, "slow": 4.0, "endless": 1e6}


def test_each_configuration_gets_the_steps_of_its_time_and_at_least_one(tmp_path):
    steps = planned_steps(SECONDS, 2, tmp_path / "plan.json", SECONDS.__getitem__)
    assert steps == {"fast": 240, "slow": 30, "endless": 1}
    assert json.loads((tmp_path / "plan.json").read_text()) == {"minutes": 2, "steps": steps}


def test_a_plan_is_kept_and_grows(tmp_path):
    timed = []

    def seconds(name):
        timed.append(name)
        return SECONDS[name] * len(timed)

    first = planned_steps(["fast"], 2, tmp_path / "plan.json", seconds)
    both = planned_steps(["fast", "slow"], 2, tmp_path / "plan.json", seconds)
    assert timed == ["fast", "slow"]
    assert both["fast"] == first["fast"]


def test_what_was_timed_before_an_interruption_is_kept(tmp_path):
    with pytest.raises(KeyError):
        planned_steps(["fast", "unknown"], 2, tmp_path / "plan.json", SECONDS.__getitem__)
    assert json.loads((tmp_path / "plan.json").read_text())["steps"] == {"fast": 240}


def test_another_time_is_refused(tmp_path):
    planned_steps(["fast"], 2, tmp_path / "plan.json", SECONDS.__getitem__)
    with pytest.raises(ValueError, match=r"minutes=3, but .*plan.json was made for 2; choose another --runs"):
        planned_steps(["fast"], 3, tmp_path / "plan.json", SECONDS.__getitem__)
