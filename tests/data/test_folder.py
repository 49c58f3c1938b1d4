"""A folder of pictures: scaled and cropped alike, divided once and for all, and every mistake in it named."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from pixelvae.data import BatchKey, DataSet, ImageFolder, Split, sequential


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("PIXELVAE_CACHE", str(folder))
    return folder


def fill(folder: Path, numbers: range, size: tuple[int, int] = (6, 5)) -> Path:
    """Plain pictures whose brightness is their number."""
    folder.mkdir(exist_ok=True, parents=True)
    for number in numbers:
        Image.new("RGB", size, (number, number, number)).save(folder / f"{number}.png")
    return folder


def whole(split: Split, epoch: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    return split[BatchKey(torch.arange(len(split)), epoch)]


def brightness(split: Split) -> set[int]:
    return set(whole(split)[0].amax((1, 2, 3)).tolist())


def splits(data: DataSet) -> tuple[Split, Split, Split]:
    return data.train, data.validation, data.test


class TestSplits:
    def test_they_are_disjoint_and_cover_the_folder(self, tmp_path: Path) -> None:
        data = ImageFolder(fill(tmp_path, range(256)), size=4)
        train, validation, test = map(brightness, splits(data))
        assert sum(map(len, splits(data))) == len(train | validation | test) == 256
        assert abs(len(train) - 204.8) < 26  # four standard deviations
        assert abs(len(validation) - 25.6) < 20
        assert abs(len(test) - 25.6) < 20

    def test_adding_pictures_moves_no_other(self, tmp_path: Path) -> None:
        before = [brightness(split) for split in splits(ImageFolder(fill(tmp_path, range(100)), size=4))]
        after = [brightness(split) for split in splits(ImageFolder(fill(tmp_path, range(100, 200)), size=4))]
        assert all(old < new for old, new in zip(before, after, strict=True))

    def test_they_are_the_same_in_every_process(self, tmp_path: Path) -> None:
        data = ImageFolder(fill(tmp_path, range(50)), size=4)
        assert brightness(data.validation) == {9, 32, 35}
        assert brightness(data.test) == {5, 23, 27, 31, 41, 49}

    def test_they_do_not_depend_on_where_the_folder_lies(self, tmp_path: Path) -> None:
        here, there = (ImageFolder(fill(tmp_path / name, range(100)), size=4) for name in ("here", "there"))
        for a, b in zip(splits(here), splits(there), strict=True):
            assert (whole(a)[0] == whole(b)[0]).all()


class TestLabels:
    def test_class_folders_are_numbered_by_name(self, tmp_path: Path) -> None:
        fill(tmp_path / "zebra", range(60))
        fill(tmp_path / "ape" / "young", range(100, 160))
        data = ImageFolder(tmp_path, size=4)
        assert data.spec.num_classes == (2,)
        for split in splits(data):
            x, y = whole(split)
            assert y.shape == (len(split), 1)
            assert (y[:, 0] == (x.amax((1, 2, 3)) < 100)).all()

    def test_a_linked_folder_is_a_class(self, tmp_path: Path) -> None:
        fill(tmp_path / "root" / "ape", range(60))
        fill(tmp_path / "elsewhere", range(100, 160))
        (tmp_path / "root" / "zebra").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
        data = ImageFolder(tmp_path / "root", size=4)
        assert data.class_names == (("ape", "zebra"),)
        for split in splits(data):
            x, y = whole(split)
            assert (y[:, 0] == (x.amax((1, 2, 3)) >= 100)).all()

    def test_a_folder_without_classes_has_none(self, tmp_path: Path) -> None:
        data = ImageFolder(fill(tmp_path, range(100)), size=4)
        assert data.spec.num_classes == ()
        assert whole(data.test)[1].shape == (len(data.test), 0)


class TestDivision:
    def test_folders_named_after_splits_are_it(self, tmp_path: Path) -> None:
        for name, numbers in (("train", range(20)), ("val", range(20, 30)), ("test", range(30, 40))):
            fill(tmp_path / name / "dark", numbers)
            fill(tmp_path / name / "light", range(numbers.start + 100, numbers.stop + 100))
        data = ImageFolder(tmp_path, size=4)
        assert data.spec.num_classes == (2,)
        assert data.class_names == (("dark", "light"),)
        assert brightness(data.train) == {*range(20), *range(100, 120)}
        assert brightness(data.validation) == {*range(20, 30), *range(120, 130)}
        assert brightness(data.test) == {*range(30, 40), *range(130, 140)}
        y = whole(data.test)[1]
        assert y.equal(data.test.labels(torch.arange(20)))
        assert y[:, 0].equal((whole(data.test)[0].amax((1, 2, 3)) >= 100).long())

    def test_a_csv_file_gives_it(self, tmp_path: Path) -> None:
        fill(tmp_path, range(6))
        lines = [f"{number}.png,{name}" for number, name in enumerate(["train", "train", "val", "val", "test", "test"])]
        (tmp_path / "division.csv").write_text("\n".join(["path,split", *lines]))
        data = ImageFolder(tmp_path, size=4, splits="division.csv")
        assert [brightness(split) for split in splits(data)] == [{0, 1}, {2, 3}, {4, 5}]

    def test_examples_know_their_files(self, tmp_path: Path) -> None:
        data = ImageFolder(fill(tmp_path / "a", range(60)).parent, size=4)
        for split in splits(data):
            x, _ = whole(split)
            expected = [f"a/{number}.png" for number in x.amax((1, 2, 3)).tolist()]
            assert split.files(torch.arange(len(split))) == expected
            assert split.files(torch.tensor([1, 0])) == [expected[1], expected[0]]

    def test_the_options_of_older_checkpoints_give_the_same_division(self, tmp_path: Path) -> None:
        """As the first version divided: by the hash of the path, pinned."""
        fill(tmp_path / "b", range(40))
        fill(tmp_path / "a", range(40))
        options = {"root": str(tmp_path), "size": 4, "levels": 2, "grey": True, "binarisation": "threshold", "seed": 0}
        data = ImageFolder(**options)
        assert data.validation.files(torch.arange(len(data.validation))) == [
            *(f"a/{number}.png" for number in (11, 16, 23, 6)),
            *(f"b/{number}.png" for number in (19, 33, 9)),
        ]
        assert data.class_names == (("a", "b"),)


class TestUnreadable:
    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        fill(tmp_path, range(50))
        for name in ("9.png", "32.png", "5.png"):
            (tmp_path / name).write_bytes(b"no picture")
        return tmp_path

    @pytest.mark.parametrize("cached", [True, False])
    def test_all_are_listed_at_once(self, root: Path, cached: bool) -> None:
        with pytest.raises(ValueError, match=r"3 of 50 pictures in .* cannot be read") as error:
            ImageFolder(root, size=4, cache=cached)
        listed = [line.split(":")[0] for line in str(error.value).splitlines()[1:]]
        assert listed == ["  32.png", "  5.png", "  9.png"]

    @pytest.mark.parametrize("cached", [True, False])
    def test_they_may_be_skipped(self, root: Path, cached: bool) -> None:
        for _ in range(2):
            data = ImageFolder(root, size=4, on_error="skip", cache=cached)
            assert [brightness(split) for split in splits(data)][1:] == [{35}, {23, 27, 31, 41, 49}]


class TestCache:
    def test_cached_pictures_are_the_decoded_ones(self, tmp_path: Path, cache: Path) -> None:
        fill(tmp_path, range(60), size=(9, 7))
        kept, anew = (ImageFolder(tmp_path, size=(4, 6), cache=cached) for cached in (True, False))
        assert any(cache.rglob("*.uint8"))
        for a, b in zip(splits(kept), splits(anew), strict=True):
            assert whole(a)[0].equal(whole(b)[0])
            assert a.spec.shape == whole(a)[0].shape[1:] == (3, 4, 6)

    def test_another_division_uses_the_same_entry(self, tmp_path: Path, cache: Path) -> None:
        """The cache holds grey values: levels, draws and flips are not in its key."""
        fill(tmp_path, range(60))
        for options in ({}, {"levels": 2}, {"flip": True, "seed": 3}):
            ImageFolder(tmp_path, size=4, **options)
        assert len(list(cache.rglob("*.uint8"))) == 1
        ImageFolder(tmp_path, size=4, grey=True)
        assert len(list(cache.rglob("*.uint8"))) == 2


def test_training_alone_is_augmented(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(60):
        Image.fromarray(rng.integers(0, 256, (8, 8), np.uint8)).save(tmp_path / f"{number}.png")
    plain = ImageFolder(tmp_path, size=8, grey=True)
    augmented = ImageFolder(tmp_path, size=8, grey=True, flip=True, shift=2)
    for a, b in zip(splits(plain), splits(augmented), strict=True):
        first, again, later = (whole(b, epoch)[0] for epoch in (0, 0, 1))
        assert first.equal(again)
        assert first.equal(later) == (b is not augmented.train)
        assert first.equal(whole(a)[0]) == (b is not augmented.train)


@pytest.mark.parametrize("grey", [True, False])
def test_two_levels_are_drawn_in_each_epoch_of_training_only(tmp_path: Path, grey: bool) -> None:
    data = ImageFolder(fill(tmp_path, range(60, 200)), size=8, levels=2, grey=grey)
    assert data.spec.shape == (1 if grey else 3, 8, 8)
    for split in splits(data):
        first, again, later = (whole(split, epoch)[0] for epoch in (0, 0, 1))
        assert set(first.unique().tolist()) == {0, 1}
        assert (first == again).all()
        assert (first == later).all() == (split is not data.train)


def test_worker_processes_read_the_same_batches(tmp_path: Path) -> None:
    split = ImageFolder(fill(tmp_path, range(50)), size=4, levels=2).train
    loader = DataLoader(split, sampler=list(sequential(split, 16)), batch_size=None, num_workers=2)
    for (x, y), key in zip(loader, sequential(split, 16), strict=True):
        assert (x == split[key][0]).all()
        assert (y == split[key][1]).all()


class TestMistakesAreNamed:
    def test_no_such_folder(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"nowhere': no such folder; want a folder with files of .*\.png"):
            ImageFolder(tmp_path / "nowhere", size=4)

    def test_a_folder_without_pictures(self, tmp_path: Path) -> None:
        (tmp_path / "notes.txt").write_text("no picture")
        fill(tmp_path / ".hidden", range(100))
        with pytest.raises(ValueError, match=rf"root='{tmp_path}': no picture; want"):
            ImageFolder(tmp_path, size=4)

    def test_too_few_pictures(self, tmp_path: Path) -> None:
        with pytest.raises(
            ValueError, match=r"2 pictures in .* leave the \w+ split empty: root needs more, at least 3"
        ):
            ImageFolder(fill(tmp_path, range(2)), size=4)

    def test_pictures_inside_and_outside_of_classes(self, tmp_path: Path) -> None:
        fill(tmp_path, range(3))
        fill(tmp_path / "ape", range(3))
        with pytest.raises(ValueError, match=r"ape/0\.png lies in a class folder, 0\.png does not"):
            ImageFolder(tmp_path, size=4)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"size": 0}, "size=0 must be at least 1"),
            ({"size": 4, "shift": -1}, "shift=-1 must be at least 0"),
            ({"size": 4, "on_error": "ignore"}, "on_error='ignore' must be 'raise' or 'skip'"),
            ({"size": 4, "fit": "fill"}, "fit='fill' must be"),
            ({"size": 4, "splits": "none.csv"}, "none.csv cannot be read as a csv file"),
            ({"size": 4, "levels": 1}, "levels=1 must lie in 2 .. 256"),
            ({"size": 4, "levels": 3, "binarisation": "dynamic"}, "'dynamic' makes two levels, but levels=3"),
        ],
    )
    def test_wrong_options(self, tmp_path: Path, options: dict, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            ImageFolder(fill(tmp_path, range(3)), **options)
