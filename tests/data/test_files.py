"""Which files a folder holds, and the division that folders, a csv file or hashes give."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pixelvae.data.files import DividedFiles, FileError, divide, find_files

EXTENSIONS = frozenset({".x"})


def touch(root: Path, *files: str) -> Path:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    return root


def names(folder: str, count: int = 3) -> list[str]:
    return [f"{folder}/{number}.x" for number in range(count)]


def divided(root: Path, splits: str | None = None) -> DividedFiles:
    return divide(root, find_files(root, EXTENSIONS, "thing"), splits)


class TestFinding:
    def test_files_come_in_the_order_of_their_paths(self, tmp_path: Path) -> None:
        files = ["b/1.x", "a/10.x", "a/9.x", "a-b/1.x", "c.X"]
        assert find_files(touch(tmp_path, *files), EXTENSIONS, "thing") == sorted(files)

    def test_links_are_followed(self, tmp_path: Path) -> None:
        """A class folder elsewhere, a link to a file, and a link to a link."""
        touch(tmp_path / "elsewhere", "1.x", "deep/2.x")
        root = touch(tmp_path / "root", "a/0.x")
        (root / "b").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
        (root / "c").symlink_to(root / "b", target_is_directory=True)
        (root / "a" / "link.x").symlink_to(tmp_path / "elsewhere" / "1.x")
        found = find_files(root, EXTENSIONS, "thing")
        assert found == ["a/0.x", "a/link.x", "b/1.x", "b/deep/2.x", "c/1.x", "c/deep/2.x"]

    def test_circles_of_links_end(self, tmp_path: Path) -> None:
        touch(tmp_path, "a/0.x", "b/0.x")
        (tmp_path / "a" / "up").symlink_to(tmp_path, target_is_directory=True)
        (tmp_path / "a" / "over").symlink_to(tmp_path / "b", target_is_directory=True)
        (tmp_path / "b" / "over").symlink_to(tmp_path / "a", target_is_directory=True)
        assert find_files(tmp_path, EXTENSIONS, "thing") == ["a/0.x", "a/over/0.x", "b/0.x", "b/over/0.x"]

    def test_a_link_to_nothing_is_kept_for_the_reader_to_name(self, tmp_path: Path) -> None:
        (tmp_path / "gone.x").symlink_to(tmp_path / "nowhere")
        assert find_files(touch(tmp_path, "0.x"), EXTENSIONS, "thing") == ["0.x", "gone.x"]

    def test_other_kinds_are_counted_in_one_line(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        os.mkfifo(touch(tmp_path, "0.x", "a.txt", "b.TXT", "c", ".hidden.y", ".git/d.txt") / "pipe.x")
        assert find_files(tmp_path, EXTENSIONS, "thing") == ["0.x"]
        assert caplog.messages == [
            f"{tmp_path}: 4 files of other kinds are left out: .txt (2), without extension (1), .x (1)"
        ]

    def test_a_folder_that_cannot_be_read_is_an_error(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        touch(tmp_path, "a/0.x", "b/0.x")
        whole = os.scandir

        def scandir(path: str | Path) -> Iterator[os.DirEntry[str]]:
            if Path(path).name == "b":
                raise PermissionError(13, "Permission denied")
            return whole(path)

        monkeypatch.setattr(os, "scandir", scandir)
        with pytest.raises(ValueError, match=r"the folder .*b cannot be read \(Permission denied\)"):
            find_files(tmp_path, EXTENSIONS, "thing")

    def test_a_name_that_cannot_be_printed_is_refused(self, tmp_path: Path) -> None:
        touch(tmp_path, os.fsdecode(b"\xff.x"))
        with pytest.raises(ValueError, match=r"\\udcff\.x': want a name that can be printed") as error:
            find_files(tmp_path, EXTENSIONS, "thing")
        assert str(error.value).isprintable()


class TestFolders:
    @pytest.mark.parametrize("validation", ["val", "valid", "validation", "Val"])
    def test_folders_named_after_splits_are_the_division(self, tmp_path: Path, validation: str) -> None:
        touch(
            tmp_path, *(file for split in ("train", validation, "test") for c in "ab" for file in names(f"{split}/{c}"))
        )
        found = divided(tmp_path)
        assert found.classes == ("a", "b")
        assert found.members("train") == [*names("train/a"), *names("train/b")]
        assert found.members("validation") == [*names(f"{validation}/a"), *names(f"{validation}/b")]
        assert found.members("test") == [*names("test/a"), *names("test/b")]
        assert found.labels("test").flatten().tolist() == [0, 0, 0, 1, 1, 1]

    def test_they_may_hold_no_classes(self, tmp_path: Path) -> None:
        found = divided(touch(tmp_path, *names("train"), *names("val"), *names("test")))
        assert found.classes == ()
        assert found.labels("train").shape == (3, 0)

    @pytest.mark.parametrize(("there", "missing"), [("test", "validation"), ("val", "test")])
    def test_a_missing_one_is_a_spread_tenth_of_training(self, tmp_path: Path, there: str, missing: str) -> None:
        touch(tmp_path, *(file for c in "ab" for file in (*names(f"train/{c}", 200), *names(f"{there}/{c}"))))
        found = divided(tmp_path)
        chosen = found.members(missing)
        assert len(found.members("train")) + len(chosen) == 400
        assert abs(len(chosen) - 40) < 24  # four standard deviations
        assert all(file.startswith("train/") for file in chosen)
        assert set(found.labels(missing).flatten().tolist()) == {0, 1}
        assert found.members("validation" if there == "val" else "test") == [*names(f"{there}/a"), *names(f"{there}/b")]

    def test_classes_may_be_called_after_a_split(self, tmp_path: Path) -> None:
        found = divided(touch(tmp_path, *names("bus", 30), *names("train", 30)))
        assert found.classes == ("bus", "train")

    @pytest.mark.parametrize(
        ("files", "message"),
        [
            (["train/a/0.x"], "holds train alone: add train and test, or set `root` to a folder that holds files"),
            (["test/a/0.x"], "holds test alone"),
            (["test/a/0.x", "val/a/0.x"], "holds test and val alone"),
            (["train/a/0.x", "test/a/0.x", "extra/a/0.x"], "holds extra, test, train: want train, validation"),
            (["train/a/0.x", "test/a/0.x", "0.x"], "holds files outside of folders, test, train: want"),
            (["train/a/0.x", "val/a/0.x", "valid/a/0.x"], "holds train, val, valid: want .*, each once"),
            (["train/a/0.x", "test/0.x"], "train/a/0.x lies in a class folder, test/0.x does not"),
            (["train/a/0.x", "test/b/0.x"], "class b is in no training file"),
            (["a/0.x", "0.x"], "a/0.x lies in a class folder, 0.x does not"),
        ],
    )
    def test_folders_that_do_not_say_it_are_named(self, tmp_path: Path, files: list[str], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            divided(touch(tmp_path, *files))


class TestCsv:
    def test_it_is_the_division(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        touch(tmp_path, *names("a"), *names("b"))
        table = "\ufeffsplit,path\ntrain,a/0.x\nval,./a/1.x\n test ,a/2.x\ntrain,b\\0.x\nvalidation,b/1.x\n"
        (tmp_path / "division.csv").write_text(table)
        with caplog.at_level(logging.WARNING):
            found = divided(tmp_path, "division.csv")
        assert found.classes == ("a", "b")
        assert [found.members(name) for name in ("train", "validation", "test")] == [
            ["a/0.x", "b/0.x"],
            ["a/1.x", "b/1.x"],
            ["a/2.x"],
        ]
        assert "1 files that it does not name are left out" in caplog.messages[-1]

    @pytest.mark.parametrize(
        ("table", "message"),
        [
            (None, "cannot be read as a csv file"),
            ("file,split\n0.x,train", "line 2: want the columns path and split"),
            ("path,split\n0.x,train\n1.x", "line 3: want the columns path and split"),
            ("path,split\n0.x,trein", "line 2: split 'trein'; want train, validation or test"),
            ("path,split\n7.x,train", "line 2: 7.x is not among the 3 files of the folder"),
            ("path,split\n0.x,train\n0.x,test", "line 3: 0.x comes twice"),
            ("path,split\n0.x,test", "no file is in the training split"),
            ("path,split\n\x00\xff", "want the columns|cannot be read"),
        ],
    )
    def test_mistakes_are_named_with_their_line(self, tmp_path: Path, table: str | None, message: str) -> None:
        touch(tmp_path, "0.x", "1.x", "2.x")
        if table is not None:
            (tmp_path / "d.csv").write_text(table, encoding="latin-1")
        with pytest.raises(ValueError, match=message):
            divided(tmp_path, "d.csv")


class TestHashes:
    def test_the_hash_is_of_the_path(self, tmp_path: Path) -> None:
        found = divided(touch(tmp_path, *(f"{number}.x" for number in range(30))))
        assert found.members("validation") == ["14.x", "24.x", "28.x", "4.x"]
        assert found.members("test") == ["8.x"]

    @pytest.mark.parametrize("count", [3, 5, 8, 12, 60])
    def test_no_split_is_empty_from_three_files_on(self, tmp_path: Path, count: int) -> None:
        found = divided(touch(tmp_path, *(f"{number}.x" for number in range(count)))).without({}, "things", "raise")
        parts = [found.members(name) for name in ("train", "validation", "test")]
        assert all(parts)
        assert sum(map(len, parts)) == count
        assert len(parts[0]) >= len(parts[1]) >= 1

    def test_two_files_are_too_few(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"2 things in .* split empty: root needs more, at least 3"):
            divided(touch(tmp_path, "0.x", "1.x")).without({}, "things", "raise")


BROKEN = {"1.x": "no header", "4.x": "cut"}


class TestUnreadable:
    def test_all_are_listed_at_once(self, tmp_path: Path) -> None:
        found = divided(touch(tmp_path, *(f"{number}.x" for number in range(9))))
        with pytest.raises(ValueError, match=r"2 of 9 things in .* cannot be read; mend or remove") as error:
            found.without(BROKEN, "things", "raise")
        assert str(error.value).splitlines()[1:] == ["  1.x: no header", "  4.x: cut"]

    def test_they_may_be_left_out(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        found = divided(touch(tmp_path, *(f"{number}.x" for number in range(9)))).without(BROKEN, "things", "skip")
        assert set(found.splits) == {f"{number}.x" for number in (0, 2, 3, 5, 6, 7, 8)}
        assert len(caplog.messages) == 1
        assert "2 of 9 things" in caplog.messages[0]

    def test_the_message_names_the_file_and_the_cure(self) -> None:
        error = FileError.of("thing", Path("a/b.x"), OSError(2, "No such\nfile"))
        assert str(error) == "cannot read the thing a/b.x: No such file; mend or remove the file"
        assert FileError.of("thing", Path("b.x"), ZeroDivisionError()).reason == "ZeroDivisionError"
