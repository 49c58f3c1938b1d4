"""Damaged idx files: one line that names the file and the cure."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pixelvae.data.idx import read_pair


def idx(values: np.ndarray) -> bytes:
    sizes = np.array(values.shape, ">u4").tobytes()
    return bytes([0, 0, 8, values.ndim]) + sizes + values.astype(np.uint8).tobytes()


IMAGES = np.random.default_rng(0).integers(0, 256, (20, 4, 5))
LABELS = np.arange(20) % 10


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    images, labels = tmp_path / "images-ubyte", tmp_path / "labels-ubyte"
    images.write_bytes(idx(IMAGES))
    labels.write_bytes(idx(LABELS))
    return images, labels


def test_whole_files_are_read_as_they_are(pair: tuple[Path, Path]) -> None:
    x, y = read_pair(*pair, size=(4, 5), num_classes=10)
    assert (x.numpy() == IMAGES[:, None]).all()
    assert (y.numpy() == LABELS).all()


DAMAGE: dict[str, tuple[int, Callable[[bytes], bytes], str]] = {
    "empty": (0, lambda _: b"", "is no idx file with 3 axes of bytes"),
    "cut in its header": (0, lambda content: content[:10], "is no idx file with 3 axes of bytes"),
    "cut": (0, lambda content: content[:-100], r"holds 300 bytes where 400 \(20 x 4 x 5\) are stated"),
    "too long": (0, lambda content: content + b"0", r"holds 401 bytes where 400 \(20 x 4 x 5\) are stated"),
    "huge sizes": (0, lambda content: content[:4] + b"\xff" * 12 + content[16:], "holds 400 bytes where 79,228,"),
    "compressed": (0, lambda content: b"\x1f\x8b\x08\x00" + content, "is no idx file"),
    "labels for images": (0, lambda _: idx(LABELS), "is no idx file with 3 axes"),
    "images for labels": (1, lambda _: idx(IMAGES), "is no idx file with 1 axes"),
    "of floats": (0, lambda content: content[:2] + b"\x0d" + content[3:], "is no idx file"),
    "other sizes": (0, lambda _: idx(IMAGES.transpose(0, 2, 1)), "holds images of 5 x 4 pixels, want 4 x 5"),
    "fewer labels": (1, lambda _: idx(LABELS[:7]), "holds 7 labels for the 20 images of images-ubyte"),
    "more labels": (1, lambda _: idx(np.tile(LABELS, 2)), "holds 40 labels for the 20 images"),
    "label 10": (1, lambda _: idx(LABELS + 1), r"holds the label 10, want 0 \.\. 9"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_one_is_named_with_the_cure(pair: tuple[Path, Path], damage: str) -> None:
    which, change, message = DAMAGE[damage]
    pair[which].write_bytes(change(pair[which].read_bytes()))
    with pytest.raises(ValueError, match=message) as error:
        read_pair(*pair, size=(4, 5), num_classes=10)
    assert re.match(rf"{re.escape(str(pair[which]))} .*: remove the file and set `download: true`", str(error.value))
    assert "\n" not in str(error.value)


def test_one_that_is_gone_is_named(pair: tuple[Path, Path]) -> None:
    pair[0].unlink()
    with pytest.raises(ValueError, match=r"images-ubyte cannot be read \(No such file or directory\)"):
        read_pair(*pair, size=(4, 5), num_classes=10)
