"""The ways of loading that are compared load the same pictures; speed itself is never asserted."""

import numpy as np
import pytest
import torch
from PIL import Image

from load_script import load_script
from pixelvae.data.picture_files import PictureFiles, PictureReader

BENCHMARK = load_script("benchmark_loading")


def test_all_ways_are_measured(tmp_path, monkeypatch):
    monkeypatch.setenv("PIXELVAE_CACHE", str(tmp_path / "cache"))
    files = BENCHMARK.photographs(tmp_path, 3, width=80, height=64)
    found = BENCHMARK.measure(tmp_path, files, size=8, rounds=1)
    assert found["num_pictures"] == 3
    assert set(found["pictures_per_second"]) == {"decoded_at_full_size", "decoded_with_drafts", "cached"}
    assert found["times_as_fast_as_decoded_at_full_size"]["decoded_at_full_size"] == 1


def test_drafts_change_little(tmp_path):
    ramp = np.linspace(0, 255, 160 * 128 * 3).reshape(128, 160, 3).astype(np.uint8)
    Image.fromarray(ramp).save(tmp_path / "a.jpg")
    read, indices = PictureReader(16, "crop", grey=False, background="white"), torch.tensor([0])
    drafted = PictureFiles(tmp_path, ["a.jpg"], read)[indices].float()
    whole = BENCHMARK.WithoutDrafts(tmp_path, ["a.jpg"], 16)[indices].float()
    assert drafted.shape == whole.shape
    assert (drafted - whole).abs().max() == pytest.approx(0, abs=4)
