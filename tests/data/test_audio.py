"""Sounds: read in any format, cropped or padded, divided once and for all, and every mistake in them named."""

from collections import Counter

import numpy as np
import pytest
import torch
from scipy.io import wavfile
from torch.utils.data import DataLoader

from pixelvae.data import ABSENT, AudioFolder, BatchKey, DataSpec, SpokenDigits, sequential
from pixelvae.data.audio import AudioSplit, Recording
from pixelvae.data.transforms import mu_law_decode, mu_law_encode

SPEAKERS = ("ann", "bob", "cy")
RATE = 8000


def whole(split, epoch=0):
    return split[BatchKey(torch.arange(len(split)), epoch)]


def splits(data):
    return data.train, data.validation, data.test


def write(file, wave, rate=RATE):
    file.parent.mkdir(exist_ok=True, parents=True)
    wavfile.write(file, rate, np.asarray(wave))
    return file


def constant(value, size=20):
    return np.full(size, value, np.int16)


@pytest.fixture
def digits(tmp_path):
    """Twelve takes of two digits by three speakers: each sound begins at 1000 times its take."""
    for digit in (0, 7):
        for speaker in SPEAKERS:
            for take in range(12):
                wave = 1000 * take + np.arange(20 + take, dtype=np.int16)
                write(tmp_path / "recordings" / f"{digit}_{speaker}_{take}.wav", wave)
    return tmp_path


def takes(split):
    """Digit, speaker and take of every example; the take from the first sample."""
    x, y = whole(split)
    wave = mu_law_decode(x[:, 0, 0], 256)
    return [
        (digit, SPEAKERS[speaker], round(float(v) * 32.768))
        for (digit, speaker), v in zip(y.tolist(), wave, strict=True)
    ]


class TestSpokenDigits:
    def test_takes_decide_about_the_split(self, digits):
        """0-4 test, 5-9 validation, the rest training; nothing twice, nothing lost, labels those of the names."""
        data = SpokenDigits(digits, length=20)
        for split, expected in zip(splits(data), (range(10, 12), range(5, 10), range(5)), strict=True):
            wanted = Counter((d, s, t) for d in (0, 7) for s in SPEAKERS for t in expected)
            assert Counter(takes(split)) == wanted

    def test_two_kinds_of_label(self, digits):
        data = SpokenDigits(digits, length=20)
        assert data.spec == DataSpec((1, 20), 256, (10, 3))
        assert (data.speakers, data.rate) == (SPEAKERS, RATE)
        assert data.class_names == (tuple("0123456789"), SPEAKERS)
        assert all(split.spec == data.spec for split in splits(data))

    def test_speakers_and_digits_take_turns(self, digits):
        """So the first examples, which pictures show, are of all kinds."""
        first = takes(SpokenDigits(digits, length=20).test)[:6]
        assert [(digit, speaker) for digit, speaker, _ in first[:2]] == [(0, "ann"), (7, "bob")]
        assert len({(digit, speaker) for digit, speaker, _ in first}) == 6
        assert {take for *_, take in first} == {0}

    @pytest.mark.parametrize("name", ["8_dan.wav", "x_dan_1.wav", "88_dan_1.wav", "8_dan_.wav"])
    def test_a_name_of_another_form_is_refused(self, digits, name):
        write(digits / "recordings" / name, constant(0))
        with pytest.raises(ValueError, match=rf"{name} is not named .*rename or remove"):
            SpokenDigits(digits, length=20)

    def test_examples_know_their_files(self, digits):
        test = SpokenDigits(digits, length=20).test
        expected = [f"recordings/{digit}_{speaker}_{take}.wav" for digit, speaker, take in takes(test)]
        assert test.files(torch.arange(len(test))) == expected
        assert test.labels(torch.arange(len(test))).equal(whole(test)[1])

    def test_broken_recordings_are_listed(self, digits):
        for name in ("0_ann_1.wav", "7_bob_3.wav"):
            (digits / "recordings" / name).write_bytes(b"RIFF")
        with pytest.raises(ValueError, match=r"2 recordings in .* cannot be read(.|\n)*0_ann_1.wav(.|\n)*7_bob_3.wav"):
            SpokenDigits(digits, length=20)

    def test_no_recordings(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"no recordings/\*\.wav in .*set `root`"):
            SpokenDigits(tmp_path, length=20)


class TestLength:
    """The law of length: a short sound is whole and followed by nothing, a long one is a stretch of itself."""

    SPEC = DataSpec((1, 10), 256)

    @staticmethod
    def split(name, *sizes):
        return AudioSplit(
            name, [Recording(torch.arange(size, dtype=torch.uint8), ()) for size in sizes], TestLength.SPEC, seed=0
        )

    @pytest.mark.parametrize("name", ["train", "validation", "test"])
    @pytest.mark.parametrize("epoch", [0, 1])
    def test_a_short_one_is_padded_at_its_end(self, name, epoch):
        x, _ = whole(self.split(name, 1, 7, 10), epoch)
        assert x.shape == (3, 1, 10)
        assert x.dtype == torch.int64
        for sound, size in zip(x[:, 0], (1, 7, 10), strict=True):
            assert sound.tolist() == [*range(size), *[ABSENT] * (10 - size)]

    @pytest.mark.parametrize("name", ["validation", "test"])
    def test_evaluation_takes_the_beginning(self, name):
        x, _ = whole(self.split(name, 30, 3), epoch=5)
        assert x[0, 0].tolist() == list(range(10))

    def test_training_crops_anew_in_every_epoch_and_reaches_all(self):
        split = self.split("train", 3, 30, 12)
        crops = torch.stack([whole(split, epoch)[0] for epoch in range(300)])[:, :, 0]
        for i, size in ((1, 30), (2, 12)):
            starts = crops[:, i, 0]
            assert torch.equal(crops[:, i], starts[:, None] + torch.arange(10)), "a stretch of itself"
            assert set(starts.tolist()) == set(range(size - 9)), "every place, the last included, and no other"

    def test_a_crop_depends_on_seed_epoch_and_index_alone(self):
        split = self.split("train", *[200] * 5)
        together, _ = whole(split, epoch=3)
        alone, _ = split[BatchKey(torch.tensor([4]), epoch=3)]
        assert torch.equal(together[4], alone[0])
        assert len(set(together[:, 0, 0].tolist())) > 1

    def test_the_last_recording_is_padded_with_nothing_of_the_first(self):
        x, _ = whole(self.split("test", 5, 4))
        assert x[0, 0].tolist() == [0, 1, 2, 3, 4, *[ABSENT] * 5]


class TestAudioFolder:
    @staticmethod
    def fill(folder, numbers):
        for number in numbers:
            write(folder / f"{number}.wav", constant(100 * number))
        return folder

    @staticmethod
    def contents(split):
        return set(whole(split)[0][:, 0, 0].tolist())

    def test_splits_are_disjoint_and_cover_the_folder(self, tmp_path):
        data = AudioFolder(self.fill(tmp_path, range(100)), length=8, rate=RATE)
        assert sum(map(len, splits(data))) == 100
        everything = {int(mu_law_encode(torch.tensor(n * 100 / 32768), 256)) for n in range(100)}
        assert set.union(*map(self.contents, splits(data))) == everything

    def test_adding_a_sound_moves_no_other(self, tmp_path):
        before = [len(split) for split in splits(AudioFolder(self.fill(tmp_path, range(60)), 8, rate=RATE))]
        known = [self.contents(split) for split in splits(AudioFolder(tmp_path, 8, rate=RATE))]
        data = AudioFolder(self.fill(tmp_path, range(60, 120)), 8, rate=RATE)
        assert all(old <= self.contents(split) for old, split in zip(known, splits(data), strict=True))
        assert [len(split) for split in splits(data)] > before

    def test_class_folders_are_numbered_by_name(self, tmp_path):
        self.fill(tmp_path / "whale", range(60))
        self.fill(tmp_path / "cat" / "old", range(-160, -100))
        data = AudioFolder(tmp_path, length=8, rate=RATE, levels=16)
        assert data.spec == DataSpec((1, 8), 16, (2,))
        for split in splits(data):
            x, y = whole(split)
            assert ((x[:, 0, 0] >= 8) == (y[:, 0] == 1)).all()

    def test_a_folder_without_classes_has_none(self, tmp_path):
        data = AudioFolder(self.fill(tmp_path, range(60)), length=8)
        assert data.spec.num_classes == ()
        assert whole(data.test)[1].shape == (len(data.test), 0)

    def test_all_are_resampled(self, tmp_path):
        data = AudioFolder(self.fill(tmp_path, range(60)), length=100, rate=2 * RATE)
        assert ((whole(data.train)[0] != ABSENT).sum(2) == 40).all()

    def test_folders_named_after_splits_are_the_division(self, tmp_path):
        for name, numbers in (("train", range(9)), ("val", range(9, 12)), ("test", range(12, 15))):
            self.fill(tmp_path / name / "a", numbers)
            self.fill(tmp_path / name / "b", numbers)
        data = AudioFolder(tmp_path, length=8, rate=RATE)
        assert data.class_names == (("a", "b"),)
        assert [len(split) for split in splits(data)] == [18, 6, 6]
        assert data.validation.files(torch.tensor([0, 5])) == ["val/a/10.wav", "val/b/9.wav"]
        assert data.validation.labels(torch.tensor([0, 5])).flatten().tolist() == [0, 1]

    def test_all_that_cannot_be_read_are_listed_or_skipped(self, tmp_path, caplog):
        self.fill(tmp_path, range(20))
        for number in (3, 11):
            (tmp_path / f"{number}.wav").write_bytes(b"RIFF")
        with pytest.raises(ValueError, match=r"2 of 20 sounds in .* cannot be read; mend or remove") as error:
            AudioFolder(tmp_path, length=8, rate=RATE)
        assert [line.split(":")[0] for line in str(error.value).splitlines()[1:]] == ["  11.wav", "  3.wav"]
        data = AudioFolder(tmp_path, length=8, rate=RATE, on_error="skip")
        assert sum(map(len, splits(data))) == 18
        assert "2 of 20 sounds" in caplog.text

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"length": 8, "on_error": "stop"}, "on_error='stop' must be"),
            ({"length": 0}, "length=0 must be at least 1"),
            ({"length": 8, "levels": 257}, r"levels=257 must lie in 2 \.\. 256"),
            ({"length": 8, "rate": 0}, "rate=0 must be at least 1"),
            ({"length": 8, "seed": -1}, "seed=-1 must not be negative"),
            ({"length": 8}, r"2 sounds in .* leave the validation split empty: root needs more, at least 3"),
        ],
    )
    def test_wrong_options_are_named(self, tmp_path, options, message):
        with pytest.raises(ValueError, match=message):
            AudioFolder(self.fill(tmp_path, range(2)), **options)

    def test_no_such_folder(self, tmp_path):
        with pytest.raises(ValueError, match=r"no such folder; want a folder with files of \.flac, .*\.wav"):
            AudioFolder(tmp_path / "nowhere", length=8)


def test_worker_processes_read_the_same_batches(digits):
    split = SpokenDigits(digits, length=15).train
    loader = DataLoader(split, sampler=list(sequential(split, 4)), batch_size=None, num_workers=2)
    for (x, y), key in zip(loader, sequential(split, 4), strict=True):
        assert torch.equal(x, split[key][0])
        assert torch.equal(y, split[key][1])
