"""The lowest versions that are tested are those that pyproject.toml admits."""

import doctest

from load_script import load_script

lowest = load_script("lowest")


def test_every_dependency_is_pinned_at_its_bound():
    pinned = lowest.pinned()
    assert len(pinned) >= 20
    assert "jsonargparse[signatures]==4.49.*" in pinned
    assert [
        requirement for requirement in pinned if "==" not in requirement and not requirement.startswith("types-")
    ] == []


def test_its_examples_hold():
    assert doctest.testmod(lowest) == doctest.TestResults(failed=0, attempted=2)
