"""Memory and the parts of a step; speed itself is never asserted."""

import pytest

from load_script import load_script

GROWTH = load_script("benchmark_growth")
SMALL = GROWTH.Size(image=8, layers=2, channels=16)


def test_memory_grows_with_the_area_and_the_layers(monkeypatch):
    """Four times the sites keep four times the bytes; every further layer keeps the same."""
    monkeypatch.setattr(GROWTH, "BATCH_SIZE", 2)
    base = GROWTH.kept_bytes(GROWTH.network(SMALL))
    area = GROWTH.kept_bytes(GROWTH.network(SMALL._replace(image=16)))
    more = [GROWTH.kept_bytes(GROWTH.network(SMALL._replace(layers=n))) for n in (3, 4)]
    assert 3 * base < area < 4.5 * base
    assert base < more[0]
    assert more[1] - more[0] == pytest.approx(more[0] - base, rel=0.1)


def test_the_parts_of_a_step_are_all_of_it(monkeypatch):
    monkeypatch.setattr(GROWTH, "PROFILE_BATCH", 2)
    monkeypatch.setattr(GROWTH, "PROFILE_STEPS", 1)
    parts = GROWTH.parts_of(GROWTH.network(SMALL))
    assert sum(parts.values()) == pytest.approx(1)
    assert parts["optimiser"] > 0
    assert parts["convolutions"] > 0
