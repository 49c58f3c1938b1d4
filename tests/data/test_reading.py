"""Many files: each comes once, in order, with its content or its error; other errors end the reading."""

from pathlib import Path

import pytest

from pixelvae.data.files import FileError
from pixelvae.data.reading import read_all

FILES = [str(number) for number in range(1000)]


def test_each_file_comes_once_in_order() -> None:
    assert list(read_all(Path("a"), FILES, str, "names")) == [(file, f"a/{file}") for file in FILES]
    assert list(read_all(Path("a"), [], str, "names")) == []


def test_errors_of_files_come_in_their_place() -> None:
    def read(path: Path) -> int:
        if path.name.endswith("7"):
            raise FileError("broken")
        return int(path.name)

    for file, found in read_all(Path("a"), FILES, read, "numbers"):
        assert isinstance(found, FileError) if file.endswith("7") else found == int(file)


def test_any_other_error_ends_the_reading() -> None:
    begun = []

    def read(path: Path) -> None:
        begun.append(path)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(read_all(Path("a"), FILES * 100, read, "numbers"))
    assert len(begun) < 50_000
