"""Which example is in which split never changes: pinned, for checkpoints and results depend on it."""

from pathlib import Path

import numpy as np

from pixelvae.data.draws import permutation
from pixelvae.data.files import divide, split_of
from pixelvae.data.images import stratified_order


def test_the_hash_of_a_path_is_pinned():
    """Of the path within the folder, with /; SHA-256, the first 8 bytes, big-endian, in tenths."""
    names = [f"{folder}/{number}.png" for folder in "ab" for number in range(10)]
    assert "".join(split_of(name)[1] for name in names) == "rrrrerarrrrrrrrerrra"


def test_folders_divide_as_their_paths_say(tmp_path: Path):
    """Equal names in two folders may lie in different splits."""
    files = [f"{folder}/{number}.png" for folder in "ab" for number in range(20)]
    splits = divide(tmp_path, files).splits
    assert splits == {file: split_of(file) for file in files}
    assert any(splits[f"a/{number}.png"] != splits[f"b/{number}.png"] for number in range(20))


def test_eight_of_ten_paths_are_for_training():
    names = [split_of(f"{number}.png") for number in range(20_000)]
    shares = [names.count(name) / len(names) for name in ("train", "validation", "test")]
    np.testing.assert_allclose(shares, [0.8, 0.1, 0.1], atol=0.01)


def test_the_order_of_the_shipped_digits_is_pinned():
    assert stratified_order(np.arange(12) % 3).tolist() == [1, 2, 6, 5, 9, 10, 0, 4, 8, 3, 7, 11]
    assert permutation(8, 20160611).tolist() == [1, 2, 6, 5, 4, 7, 0, 3]
