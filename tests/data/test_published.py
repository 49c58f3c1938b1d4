"""What torchvision reads is passed on unchanged, validation is the tail of training, and a missing file is named.

The files are small fakes of the published formats: the real ones are not needed to test.
"""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.io import savemat

from pixelvae.data import CIFAR10, KMNIST, MNIST, SVHN, BatchKey, FashionMNIST, Split
from pixelvae.data.published import PublishedImages

Arrays = tuple[np.ndarray, np.ndarray]  # pixels (N, C, H, W) and labels (N,)


def fake(num_examples: int, shape: tuple[int, ...], seed: int) -> Arrays:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (num_examples, *shape), np.uint8), rng.integers(0, 10, num_examples, np.uint8)


def write_idx(root: Path, name: str, train: Arrays, test: Arrays) -> None:
    folder = root / name / "raw"
    folder.mkdir(parents=True)
    for part, (pixels, labels) in {"train": train, "t10k": test}.items():
        sizes = np.array([len(pixels), 28, 28], ">i4").tobytes()
        (folder / f"{part}-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03" + sizes + pixels.tobytes())
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01" + sizes[:4] + labels.tobytes())


class PicklerOf2009(pickle.Pickler):
    """Describes dtypes as numpy did when CIFAR10 was published, at which numpy 2.4 warns."""

    def reducer_override(self, obj: object) -> Any:
        if isinstance(obj, np.dtype):
            return np.dtype, ("u1", 0, 1), (3, "|", None, None, None, -1, -1, 0)
        return NotImplemented


def write_cifar10(root: Path, train: Arrays, test: Arrays) -> None:
    folder = root / "cifar-10-batches-py"
    folder.mkdir()
    names = [f"data_batch_{number}" for number in range(1, 6)]
    parts = zip(np.split(train[0], 5), np.split(train[1], 5), strict=True)
    for name, (pixels, labels) in {**dict(zip(names, parts, strict=True)), "test_batch": test}.items():
        with (folder / name).open("wb") as file:
            PicklerOf2009(file, protocol=2).dump({"data": pixels.reshape(len(pixels), -1), "labels": labels.tolist()})
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list("abcdefghij")}))


def write_svhn(root: Path, train: Arrays, test: Arrays) -> None:
    for part, (pixels, labels) in {"train": train, "test": test}.items():
        tens = np.where(labels == 0, 10, labels)  # the publisher's name for 0
        savemat(root / f"{part}_32x32.mat", {"X": pixels.transpose(2, 3, 1, 0), "y": tens[:, None]})


GREY, COLOUR = (1, 28, 28), (3, 32, 32)
KINDS: dict[type[PublishedImages], tuple[tuple[int, ...], Callable[..., None], tuple[int, int]]] = {
    MNIST: (GREY, lambda root, *parts: write_idx(root, "MNIST", *parts), (50, 10)),
    FashionMNIST: (GREY, lambda root, *parts: write_idx(root, "FashionMNIST", *parts), (50, 10)),
    KMNIST: (GREY, lambda root, *parts: write_idx(root, "KMNIST", *parts), (50, 10)),
    CIFAR10: (COLOUR, write_cifar10, (54, 6)),
    SVHN: (COLOUR, write_svhn, (54, 6)),
}


@pytest.fixture(autouse=True)
def _accept_fake_files(monkeypatch: pytest.MonkeyPatch) -> None:
    def exists(path: str, md5: str | None = None) -> bool:
        return Path(path).is_file()

    for module in ("cifar", "svhn"):  # these compare checksums with the published files
        monkeypatch.setattr(f"torchvision.datasets.{module}.check_integrity", exists)


def whole(split: Split) -> tuple[np.ndarray, np.ndarray]:
    x, y = split[BatchKey(torch.arange(len(split)), epoch=0)]
    return x.numpy(), y.numpy()


@pytest.mark.parametrize("make", KINDS)
class TestPublishedDataSets:
    def test_pictures_and_labels_come_through_unchanged(self, make: type[PublishedImages], tmp_path: Path) -> None:
        shape, write, (num_train, num_validation) = KINDS[make]
        train, test = fake(60, shape, seed=0), fake(20, shape, seed=1)
        write(tmp_path, train, test)
        data = make(str(tmp_path), levels=256)
        assert data.spec.shape == shape
        assert data.spec.num_classes == (10,)
        assert (len(data.train), len(data.validation), len(data.test)) == (num_train, num_validation, 20)
        for split, (pixels, labels) in {
            data.train: (train[0][:num_train], train[1][:num_train]),
            data.validation: (train[0][num_train:], train[1][num_train:]),
            data.test: test,
        }.items():
            x, y = whole(split)
            assert (x == pixels).all()
            assert (y == labels[:, None]).all()

    def test_levels_and_binarisation_are_passed_on(self, make: type[PublishedImages], tmp_path: Path) -> None:
        shape, write, _ = KINDS[make]
        train, test = fake(60, shape, seed=0), fake(20, shape, seed=1)
        write(tmp_path, train, test)
        assert (whole(make(tmp_path, levels=4).test)[0] == test[0] // 64).all()
        assert (whole(make(tmp_path, levels=2, binarisation="threshold").test)[0] == test[0] // 128).all()
        dynamic, reseeded = (whole(make(tmp_path, levels=2, seed=seed).test)[0] for seed in (0, 1))
        assert set(np.unique(dynamic)) == {0, 1}
        assert not (dynamic == reseeded).all()

    def test_missing_files_are_named_with_folder_and_option(self, make: type[PublishedImages], tmp_path: Path) -> None:
        shape, write, _ = KINDS[make]
        write(tmp_path, fake(60, shape, seed=0), fake(20, shape, seed=1))
        lost = tmp_path / make.files[-1]
        lost.unlink()
        with pytest.raises(FileNotFoundError) as error:
            make(tmp_path, levels=2)
        assert str(error.value) == (
            f"{make.__name__}: no {make.files[-1]} in {tmp_path}: set `root` to the folder that holds them, "
            "or `download: true` to fetch them"
        )

    def test_classes_have_names(self, make: type[PublishedImages], tmp_path: Path) -> None:
        shape, write, _ = KINDS[make]
        write(tmp_path, fake(60, shape, seed=0), fake(20, shape, seed=1))
        data = make(tmp_path, levels=2)
        names = {FashionMNIST: "Ankle boot", CIFAR10: "truck", KMNIST: "wo"}
        assert len(data.class_names[0]) == 10
        assert data.class_names[0][9] == names.get(make, "9")
        assert data.test.class_names == data.class_names

    def test_a_damaged_file_is_named_with_the_cure(
        self, make: type[PublishedImages], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        shape, write, _ = KINDS[make]
        for kept in (0, 50):
            folder = tmp_path / str(kept)
            folder.mkdir()
            write(folder, fake(60, shape, seed=0), fake(20, shape, seed=1))
            file = folder / make.files[0]
            file.write_bytes(file.read_bytes()[:kept])
            with pytest.raises(ValueError, match="remove the file and set `download: true`, or copy it anew") as error:
                make(folder, levels=2)
            assert str(folder) in str(error.value)
            assert "\n" not in str(error.value)

    def test_options_are_checked_before_files(self, make: type[PublishedImages], tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"levels=300 must lie in 2 .. 256"):
            make(tmp_path, levels=300)


@pytest.mark.parametrize("make", KINDS)
def test_download_is_left_to_torchvision(
    make: type[PublishedImages], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape, write, _ = KINDS[make]
    monkeypatch.setattr(
        f"torchvision.datasets.{make.__name__}.download",
        lambda self: any(tmp_path.iterdir()) or write(tmp_path, fake(60, shape, seed=0), fake(20, shape, seed=1)),
    )
    assert len(make(tmp_path, levels=2, download=True).test) == 20


def test_too_few_images_for_a_validation_set_are_refused(tmp_path: Path) -> None:
    write_idx(tmp_path, "MNIST", fake(5, GREY, seed=0), fake(5, GREY, seed=1))
    with pytest.raises(ValueError, match=r"MNIST: 5 training images in .*; want at least 6"):
        MNIST(tmp_path, levels=2)


def test_the_base_cannot_be_made(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="abstract"):
        PublishedImages(tmp_path, levels=2)  # type: ignore[abstract]
