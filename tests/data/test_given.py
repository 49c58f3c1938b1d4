"""Files that belong to no data set are read as a data set reads its own."""

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import wavfile

from pixelvae import AudioFolder, DataSpec, Digits, ImageFolder
from pixelvae.data.given import GivenFiles, JoinedSplits, content_key, list_files
from pixelvae.data.splits import BatchKey


def all_of(split):
    return split[BatchKey(torch.arange(len(split)), epoch=0)]


@pytest.fixture
def pictures(tmp_path):
    numbers = np.random.default_rng(0)
    for kind in ("cat", "dog"):
        (tmp_path / kind).mkdir()
        for i in range(20):
            Image.fromarray(numbers.integers(0, 256, (9, 12, 3), dtype=np.uint8)).save(tmp_path / kind / f"{i}.png")
    return tmp_path


@pytest.mark.parametrize(
    "options",
    [
        {"levels": 256},
        {"levels": 8, "grey": True, "fit": "pad", "background": "red"},
        {"levels": 2, "grey": True, "binarisation": "threshold", "fit": "stretch"},
    ],
)
def test_pictures_are_those_of_the_data_set(pictures, options):
    data = ImageFolder(pictures, size=6, cache=False, **options)
    files = [pictures / file for file in data.test.files(torch.arange(len(data.test)))]
    given = GivenFiles(files, data.spec._replace(num_classes=()), options)
    assert all_of(given)[0].equal(all_of(data.test)[0])
    assert given.files(torch.tensor([1])) == [files[1].as_posix()]


def test_binary_pixels_depend_on_the_picture_and_the_seed_alone(pictures):
    spec = DataSpec((1, 6, 6), levels=2)
    first, second = pictures / "cat/0.png", pictures / "dog/3.png"
    x = all_of(GivenFiles([first, second, first], spec))[0]
    assert x[0].equal(x[2])
    assert all_of(GivenFiles([second], spec))[0][0].equal(x[1])
    assert not all_of(GivenFiles([second], spec, {"seed": 1}))[0][0].equal(x[1])
    for shade in (127, 128):
        Image.new("L", (6, 6), shade).save(pictures / f"{shade}.png")
    x = all_of(GivenFiles([pictures / "127.png", pictures / "128.png"], spec))[0]
    assert (x[0] != x[1]).sum() > 5, "other pictures have other random numbers"
    assert 0 < x.float().mean() < 1


@pytest.mark.filterwarnings("ignore::scipy.io.wavfile.WavFileWarning")
def test_sounds_are_those_of_the_data_set(tmp_path):
    numbers = np.random.default_rng(0)
    for i in range(40):
        wavfile.write(tmp_path / f"{i}.wav", 8000, numbers.integers(-9000, 9000, 30 + 2 * i).astype(np.int16))
    data = AudioFolder(tmp_path, length=60, levels=16, rate=4000)
    files = [tmp_path / file for file in data.test.files(torch.arange(len(data.test)))]
    assert all_of(GivenFiles(files, data.spec, {"rate": 4000}))[0].equal(all_of(data.test)[0])


def test_files_and_folders_are_listed_in_order(pictures):
    spec = DataSpec((3, 6, 6), levels=256)
    named = [pictures / "dog", pictures / "cat/7.png"]
    found = list_files(named, spec)
    assert found[-1] == pictures / "cat/7.png"
    assert found[:-1] == sorted((pictures / "dog").iterdir())


def test_unreadable_files_are_all_named(pictures):
    broken = [pictures / "cat/3.png", pictures / "dog/0.png"]
    for file in broken:
        file.write_bytes(b"no picture")
    spec = DataSpec((3, 6, 6), levels=256)
    found = GivenFiles(list_files([pictures], spec), spec).unreadable()
    assert list(found) == broken
    assert all(str(file) in reason for file, reason in found.items())


def test_content_decides_about_the_key():
    x = torch.arange(16)
    assert content_key(x, 0) == content_key(x.short(), 0)
    keys = {content_key(x, 0), content_key(x, 1), content_key(x.flip(0), 0), content_key(x + 1, 0), content_key(x, 17)}
    assert len(keys) == 5
    assert all(0 <= key < 2**63 for key in keys)


def test_joined_splits_are_one_after_the_other():
    data = Digits()
    joined = JoinedSplits([data.validation, data.test])
    x, y = all_of(joined)
    for part, split in ((slice(200), data.validation), (slice(200, None), data.test)):
        assert x[part].equal(all_of(split)[0])
        assert y[part].equal(all_of(split)[1])
    mixed = torch.tensor([450, 3, 199, 200])
    assert joined[BatchKey(mixed, epoch=0)][0].equal(x[mixed])
    assert joined.labels(mixed).equal(y[mixed])
