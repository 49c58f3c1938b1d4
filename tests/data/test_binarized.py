"""Files of the fixed binarisation come through bit by bit; a damaged one is named by its line."""

import numpy as np
import pytest
import torch

from local_server import serve
from pixelvae.data import BatchKey, BinarizedMNIST
from pixelvae.data.binarized import parse_amat

ROWS = {"train": 5, "validation": 3, "test": 2}


def amat(bits):
    return b"".join(" ".join(map(str, row)).encode() + b"\n" for row in bits)


@pytest.fixture
def files(tmp_path, monkeypatch):
    """The bits of each split, written in the published format, with fewer rows."""
    monkeypatch.setattr(BinarizedMNIST, "num_examples", ROWS)
    rng, folder = np.random.default_rng(0), tmp_path / "BinarizedMNIST"
    folder.mkdir()
    bits = {name: rng.integers(0, 2, (n, 784)) for name, n in ROWS.items()}
    for name, rows in bits.items():
        (folder / f"binarized_mnist_{name.replace('validation', 'valid')}.amat").write_bytes(amat(rows))
    return bits


def test_every_bit_comes_through_and_no_epoch_changes_it(files, tmp_path):
    data = BinarizedMNIST(str(tmp_path))
    assert (data.spec.shape, data.spec.levels, data.spec.num_classes) == ((1, 28, 28), 2, ())
    for name, bits in files.items():
        split = getattr(data, name)
        assert len(split) == ROWS[name]
        for epoch in (0, 7):
            x, y = split[BatchKey(torch.arange(len(split)), epoch)]
            np.testing.assert_array_equal(x.flatten(1), bits)
            assert (x.dtype, y.shape) == (torch.int64, (len(split), 0))


def test_the_published_counts_are_wanted(tmp_path):
    assert BinarizedMNIST.num_examples == {"train": 50_000, "validation": 10_000, "test": 10_000}
    with pytest.raises(ValueError, match=r"x.amat holds 2 images, wanted 3: remove the file"):
        parse_amat(amat(np.zeros((2, 784), int)), 3, "x.amat")


@pytest.mark.parametrize("ends", [b"\n", b" \n", b"\r\n"])
def test_ends_of_lines_do_not_matter(ends):
    bits = np.random.default_rng(1).integers(0, 2, (3, 784))
    content = amat(bits).replace(b"\n", ends)
    for given in (content, content.removesuffix(ends)):
        np.testing.assert_array_equal(parse_amat(given, 3, "x").flatten(1), bits)


def two_lines(at, value):
    content = bytearray(amat(np.zeros((2, 784), int)))
    content[at : at + 1] = value
    return bytes(content)


@pytest.mark.parametrize(
    "content",
    [
        two_lines(1568, b"2"), two_lines(1568, b"/"), two_lines(1568, b"."), two_lines(1569, b"0"),
        two_lines(1569, b"\t"), two_lines(1568, b"0 0"), two_lines(1568, b""), two_lines(1570, b"\n"),
        amat(np.zeros((2, 784), int))[:-5],
    ],
)  # fmt: skip
def test_a_damaged_line_is_named(content):
    with pytest.raises(ValueError, match=r"^x.amat, line 2: wanted 784 values 0 or 1.* copy it anew$"):
        parse_amat(content, 2, "x.amat")


def test_an_empty_file_is_refused():
    with pytest.raises(ValueError, match="holds 0 images, wanted 2"):
        parse_amat(b"", 2, "x.amat")


def test_missing_files_are_named(files, tmp_path):
    (tmp_path / "BinarizedMNIST/binarized_mnist_valid.amat").unlink()
    with pytest.raises(FileNotFoundError) as error:
        BinarizedMNIST(tmp_path)
    assert str(error.value) == (
        f"BinarizedMNIST: no BinarizedMNIST/binarized_mnist_valid.amat in {tmp_path}: set `root` to the folder that "
        "holds them, or `download: true` to fetch them"
    )


def test_only_missing_files_are_fetched_and_damaged_ones_are_not_kept(files, tmp_path, monkeypatch):
    published, root = tmp_path / "BinarizedMNIST", tmp_path / "root"
    with serve(published) as (url, asked):
        monkeypatch.setattr(BinarizedMNIST, "url", url)
        data = BinarizedMNIST(root, download=True)
        assert (data.test.images([0, 1]).flatten(1).numpy() == files["test"]).all()
        assert len(asked) == 3
        BinarizedMNIST(root, download=True)
        assert len(asked) == 3
        kept = root / "BinarizedMNIST/binarized_mnist_test.amat"
        kept.unlink()
        (published / kept.name).write_bytes(b"<html>moved</html>\n")
        with pytest.raises(ValueError, match=rf"{url}/{kept.name}, line 1: wanted 784"):
            BinarizedMNIST(root, download=True)
        (published / kept.name).unlink()
        with pytest.raises(ValueError, match=r"cannot be fetched .*404"):
            BinarizedMNIST(root, download=True)
        assert not kept.exists()
