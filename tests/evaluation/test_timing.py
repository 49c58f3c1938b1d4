"""The arithmetic of timing; speed itself is never asserted."""

import pytest
import torch

from pixelvae.evaluation import timing
from small_runs import CONFIG, small_model

CPU = torch.device("cpu")


def test_the_median_of_turns_is_taken(monkeypatch):
    taken = iter([1.0, 10.0, 2.0, 30.0, 9.0, 20.0])
    monkeypatch.setattr(timing, "seconds", lambda work, device: next(taken))
    calls = []
    works = {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}
    assert timing.interleaved(works, 3, CPU) == {"a": 2.0, "b": 20.0}
    assert calls == ["a", "b"]  # the warm-up, which does not count


def test_a_row_of_sampling_counts_one_forward_pass_per_pixel():
    without = {"encoder": None, "prior": None, "latent_dim": 0, "context": {"class_path": "VectorContext"}}
    model = small_model(CONFIG | without | {"class_conditional": False})
    row = timing.sampling_row(model.eval(), 2, ("eager",), 1, CPU)
    assert row["naive_seconds"] == pytest.approx(64 * row["forward_seconds"])
    assert row["eager_speedup"] == pytest.approx(row["naive_seconds"] / row["eager_seconds"])
    assert row["eager_sites_per_second"] == pytest.approx(2 * 64 / row["eager_seconds"])
