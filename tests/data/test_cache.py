"""Decoded pictures in the cache: the same values, decoded once, whole or not there, and never a reason to stop."""

import os
import pickle
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from pixelvae.data.cache import UNUSED_DAYS, CachedPictures, Decoded, decode_all
from pixelvae.data.files import FileError

SHAPE = (3, 2, 2)
FILES = [f"{number}.x" for number in range(200)]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PIXELVAE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "pictures"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    for file in FILES:
        (tmp_path / "root" / file).write_text(file)
    return tmp_path / "root"


class Reader:
    """Values from the name of a file; counts what it reads."""

    def __init__(self, broken: tuple[str, ...] = ()) -> None:
        self.broken = broken
        self.count = 0

    def __call__(self, path: Path) -> np.ndarray:
        self.count += 1
        if path.name in self.broken:
            raise FileError(f"{path} is broken", "broken")
        return np.full(SHAPE, int(path.stem), np.uint8)


def decode(root: Path, reader: Reader, settings: str = "", cache: bool = True) -> Decoded:
    return decode_all(root, FILES, reader, settings, SHAPE, cache)


def values(decoded: Decoded, rows: list[int]) -> list[int]:
    assert decoded.file is not None
    pictures = CachedPictures(decoded.file, SHAPE, rows)
    x = pictures[torch.arange(len(rows))]
    assert x.shape == (len(rows), *SHAPE)
    assert x.dtype == torch.uint8
    return x[:, 0, 0, 0].tolist()


def test_pictures_are_decoded_once(root: Path, cache: Path) -> None:
    first, second = Reader(), Reader()
    assert values(decode(root, first), [0, 7, 199]) == values(decode(root, second), [0, 7, 199]) == [0, 7, 199]
    assert (first.count, second.count) == (200, 0)
    assert sorted(path.suffix for path in cache.iterdir()) == [".json", ".uint8"]


@pytest.mark.parametrize("change", ["settings", "time", "size", "root"])
def test_whatever_decides_about_the_values_is_in_the_key(root: Path, cache: Path, change: str) -> None:
    decode(root, Reader())
    if change == "time":
        os.utime(root / "3.x", ns=(1, 1))
    elif change == "size":
        status = (root / "3.x").stat()
        (root / "3.x").write_text("longer")
        os.utime(root / "3.x", ns=(status.st_atime_ns, status.st_mtime_ns))
    elif change == "root":
        root = root.rename(root.parent / "moved")
    again = Reader()
    decode(root, again, settings="other" if change == "settings" else "")
    assert again.count == 200


@pytest.mark.parametrize("cached", [True, False])
def test_those_that_cannot_be_read_are_found_each_time(root: Path, cache: Path, cached: bool) -> None:
    reader = Reader(broken=("3.x", "90.x"))
    for _ in range(2):
        decoded = decode(root, reader, cache=cached)
        assert decoded.unreadable == {"3.x": "broken", "90.x": "broken"}
        if cached:
            assert values(decoded, [2, 3, 197]) == [2, 4, 199], "a row for each picture that can be read"
    assert reader.count == (200 if cached else 400)


@pytest.mark.parametrize("damage", ["cut values", "no values", "cut entry", "other entry"])
def test_a_damaged_entry_is_made_anew(root: Path, cache: Path, damage: str) -> None:
    decode(root, Reader())
    entry, kept = sorted(cache.iterdir())
    if damage == "cut values":
        kept.write_bytes(kept.read_bytes()[:-1])
    elif damage == "no values":
        kept.unlink()
    else:
        entry.write_text('{"unreadable"' if damage == "cut entry" else "[]")
    again = Reader()
    assert values(decode(root, again), [0, 199]) == [0, 199]
    assert again.count == 200


def test_an_interrupted_build_leaves_nothing(root: Path, cache: Path) -> None:
    def interrupted(path: Path) -> np.ndarray:
        if path.name == "150.x":
            raise KeyboardInterrupt
        return np.zeros(SHAPE, np.uint8)

    with pytest.raises(KeyboardInterrupt):
        decode_all(root, FILES, interrupted, "", SHAPE, cache=True)
    assert list(cache.iterdir()) == []


def test_entries_that_are_not_used_for_long_are_removed_when_another_is_made(
    root: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A use renews an entry, whenever it was made; remains of killed builds go too. The log has one line."""
    for settings in ("unused", "used"):
        decode(root, Reader(), settings)
    (cache / "tmp_killed").mkdir()
    (cache / "tmp_killed" / "part.uint8").write_bytes(bytes(10))
    long_ago = time.time() - (UNUSED_DAYS + 1) * 86_400
    for path in cache.iterdir():
        os.utime(path, (long_ago, long_ago))
    used = decode(root, Reader(), "used")  # found, not made: nothing is removed
    assert len(list(cache.iterdir())) == 5
    assert not caplog.messages

    made = decode(root, Reader(), "new")
    assert used.file is not None
    assert made.file is not None
    assert sorted(cache.glob("*.uint8")) == sorted([used.file, made.file])
    assert len(list(cache.iterdir())) == 4
    assert values(used, [5]) == [5]
    assert len(caplog.messages) == 1
    assert f"not used for {UNUSED_DAYS} days" in caplog.messages[0]
    assert "of 1 folders" in caplog.messages[0]


def test_a_cache_that_can_only_be_read_is_used(root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_only(*_: object) -> None:
        raise PermissionError

    decode(root, Reader())
    monkeypatch.setattr(os, "utime", read_only)
    again = Reader()
    assert values(decode(root, again), [3]) == [3]
    assert again.count == 0


def test_without_a_folder_to_write_to_one_line_says_so(
    root: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache.parent.write_text("a file, no folder")
    decoded = decode(root, Reader(broken=("3.x",)))
    assert decoded == Decoded({"3.x": "broken"}, None)
    assert len(caplog.messages) == 1
    assert "PIXELVAE_CACHE names another folder" in caplog.messages[0]


def test_another_process_maps_the_same_file(root: Path, cache: Path) -> None:
    file = decode(root, Reader()).file
    assert file is not None
    pictures = CachedPictures(file, SHAPE, range(200))
    message = pickle.dumps(pictures)
    assert len(message) < 200 * 12 + 2000, "the values are not copied"
    assert pickle.loads(message)[torch.tensor([5])].equal(pictures[torch.tensor([5])])
