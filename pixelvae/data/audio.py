"""Data sets of sounds, converted to μ-law levels of one length."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from pixelvae.data.draws import uniform
from pixelvae.data.files import FileError, OnError, divide, find_files
from pixelvae.data.reading import read_all
from pixelvae.data.sound_files import EXTENSIONS, read_sound
from pixelvae.data.spec import ABSENT, DataSpec
from pixelvae.data.splits import BatchKey, DataSet, Split, SplitName
from pixelvae.data.transforms import check_levels, mu_law_encode

# Stream numbers of the splits, so that their random draws are independent.
_STREAMS: dict[SplitName, int] = {"train": 0, "validation": 1, "test": 2}


class Recording(NamedTuple):
    """One sound before cropping and padding.

    Args:
        levels: (N,) uint8.
        labels: One of each kind.
        file: Its path within the folder of the data set.
    """

    levels: Tensor
    labels: tuple[int, ...]
    file: str = ""


class AudioSplit(Split):
    """A split of sounds: a recording longer than the data's shape is cropped, a shorter one is padded at its end.

    Training uses a new random crop in every epoch; the other splits use the beginning, so that evaluations are
    comparable. Padding is ``ABSENT``, which is different from silence.

    Args:
        name: Name of the split.
        recordings: The sounds, kept in memory with one byte per sample.
        spec: Shape (1, T), levels and labels.
        seed: Seed of the random crops.
        class_names: Class names of each kind of label; numbers by default.

    Shape:
        ``split[key]`` returns x: (B, 1, T) int64 in [0, K) or ``ABSENT``, and y: (B, L) int64.

    Example:
        >>> short = Recording(torch.tensor([3, 1, 2], dtype=torch.uint8), labels=())
        >>> split = AudioSplit("test", [short], DataSpec((1, 5), levels=4), seed=0)
        >>> split[BatchKey(torch.tensor([0]), epoch=0)][0]
        tensor([[[ 3,  1,  2, -1, -1]]])
    """

    def __init__(
        self,
        name: SplitName,
        recordings: Sequence[Recording],
        spec: DataSpec,
        seed: int,
        class_names: tuple[tuple[str, ...], ...] = (),
    ) -> None:
        self.spec = spec
        # One concatenated tensor, because every tensor takes a file handle of a worker process.
        self._levels = torch.cat([recording.levels for recording in recordings])
        self._sizes = torch.tensor([len(recording.levels) for recording in recordings])
        self._begins = self._sizes.cumsum(0) - self._sizes
        self._labels = torch.tensor([recording.labels for recording in recordings], dtype=torch.int64)
        self._crops_anew = name == "train"
        self._path = (seed, _STREAMS[name])
        self._class_names = class_names
        self._files = [recording.file for recording in recordings]

    def __len__(self) -> int:
        return len(self._sizes)

    def __getitem__(self, key: BatchKey) -> tuple[Tensor, Tensor]:
        sizes, begins = self._sizes[key.indices, None], self._begins[key.indices, None]  # (B, 1)
        at = torch.arange(self.spec.sites[0]).expand(len(sizes), -1)  # (B, T)
        if self._crops_anew:
            u = torch.from_numpy(uniform(key.indices.numpy(), 1, *self._path, key.epoch))  # (B, 1)
            room = (sizes - self.spec.sites[0]).clamp(min=0)
            at = at + (u * (room + 1)).long().minimum(room)
        levels = self._levels[(begins + at).clamp(max=len(self._levels) - 1)].long()
        return levels.where(at < sizes, ABSENT).unsqueeze(1), self._labels[key.indices]

    @property
    def class_names(self) -> tuple[tuple[str, ...], ...]:
        """A name for each class of each kind of label."""
        return self._class_names or super().class_names

    def labels(self, indices: Sequence[int] | Tensor) -> Tensor:
        """The labels of some sounds. (B,) -> (B, L)."""
        return self._labels[self.positions(indices)]

    def files(self, indices: Tensor) -> list[str]:
        """Paths of some sounds within the folder of the data set, (B,) -> B; none where they are no files."""
        return [self._files[index] for index in indices.tolist()] if any(self._files) else []


def _check_options(length: int, levels: int, rate: int, seed: int) -> None:
    """Check the options that all data sets of sounds share, before any file is read."""
    if length < 1:
        raise ValueError(f"length={length} must be at least 1 sample")
    if rate < 1:
        raise ValueError(f"rate={rate} must be at least 1 sample per second")
    if seed < 0:
        raise ValueError(f"seed={seed} must not be negative")
    check_levels(levels)


class AudioDataSet(DataSet):
    """Abstract base of the data sets of sounds.

    Args:
        recordings: The recordings of each split.
        length: T, samples of one example.
        levels: K, from 2 to 256.
        rate: Samples per second.
        class_names: A name for each class of each kind of label.
        seed: Seed of the random crops in training.

    Raises:
        ValueError: If an option is out of range, or a split is empty.
    """

    rate: int

    @abstractmethod
    def __init__(
        self,
        recordings: Mapping[SplitName, Sequence[Recording]],
        *,
        length: int,
        levels: int,
        rate: int,
        class_names: tuple[tuple[str, ...], ...],
        seed: int,
    ) -> None:
        _check_options(length, levels, rate, seed)
        self.rate = rate
        spec = DataSpec((1, length), levels, tuple(map(len, class_names)))

        def split(name: SplitName) -> AudioSplit:
            if not recordings[name]:
                total = sum(map(len, recordings.values()))
                raise ValueError(f"{total} recordings leave the {name} split empty: root needs more")
            return AudioSplit(name, recordings[name], spec, seed, class_names)

        super().__init__(split("train"), split("validation"), split("test"))


class SpokenDigits(AudioDataSet):
    """Spoken digits, 3,000 recordings of 6 speakers at 8 kHz: 2,400 / 300 / 300.

    Takes are numbered for each digit and speaker: 0-4 are the publisher's test split, 5-9 validation here, the rest
    training. Two kinds of label: the digit, and the speaker, numbered in alphabetical order.

    Reference:
        Free Spoken Digit Dataset (Jackson et al., 2018). https://github.com/Jakobovski/free-spoken-digit-dataset

    Args:
        root: Folder with ``recordings/{digit}_{speaker}_{take}.wav``.
        length: T, samples of one example; 4096 samples contain three quarters of the recordings completely.
        levels: K, from 2 to 256, by the μ-law.
        seed: Seed of the random crops in training.

    Raises:
        ValueError: If an option is out of range, a file's name does not have that form, or a split is empty.
        FileNotFoundError: If there are no recordings.

    Example:
        >>> SpokenDigits(root="no/such/folder", length=4096)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        FileNotFoundError: SpokenDigits: no recordings/*.wav in ...
    """

    def __init__(self, root: str | Path, length: int, levels: int = 256, seed: int = 0) -> None:
        folder, rate = Path(root).expanduser(), 8000
        _check_options(length, levels, rate, seed)
        files = sorted((folder / "recordings").glob("*.wav"))
        if not files:
            raise FileNotFoundError(
                f"{type(self).__name__}: no recordings/*.wav in {folder.absolute()}: set `root` to a copy of "
                "https://github.com/Jakobovski/free-spoken-digit-dataset"
            )
        takes = {file: _take(file) for file in files}
        number = {name: i for i, name in enumerate(sorted({speaker for _, speaker, _ in takes.values()}))}
        recordings: dict[SplitName, list[Recording]] = {"train": [], "validation": [], "test": []}

        def place(file: Path) -> tuple[int, int, int]:
            """Sort by take, then by digit, then by speaker."""
            digit, speaker, index = takes[file]
            return index, (number[speaker] - digit) % len(number), digit

        ordered = [file.name for file in sorted(files, key=place)]
        sounds, unreadable = _readable(folder / "recordings", ordered, rate, levels)
        if unreadable:
            listed = "".join(f"\n  {name}: {reason}" for name, reason in unreadable.items())
            raise ValueError(f"{len(unreadable)} recordings in {folder} cannot be read; mend or remove them:{listed}")
        for name, levels_of_file in sounds.items():
            digit, speaker, index = takes[folder / "recordings" / name]
            part: SplitName = "test" if index < 5 else "validation" if index < 10 else "train"
            recordings[part].append(Recording(levels_of_file, (digit, number[speaker]), f"recordings/{name}"))
        names = tuple(map(str, range(10))), tuple(number)
        super().__init__(recordings, length=length, levels=levels, rate=rate, class_names=names, seed=seed)
        self.speakers = tuple(number)


def _take(file: Path) -> tuple[int, str, int]:
    """Digit, speaker and number of the take, from a file's name."""
    match = re.fullmatch(r"(\d)_([^_]+)_(\d+)\.wav", file.name)
    if match is None:
        raise ValueError(f"{file} is not named {{digit}}_{{speaker}}_{{take}}.wav: rename or remove it")
    return int(match[1]), match[2], int(match[3])


def _readable(root: Path, files: Sequence[str], rate: int, levels: int) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Levels of every readable sound, and the errors of the others."""
    sounds, unreadable = {}, {}
    for file, sound in read_all(
        root, files, lambda path: mu_law_encode(read_sound(path, rate), levels).byte(), "sounds"
    ):
        if isinstance(sound, FileError):
            unreadable[file] = sound.reason
        else:
            sounds[file] = sound
    return sounds, unreadable


class AudioFolder(AudioDataSet):
    """Any folder of sounds, split by its folders, by a csv file, or by a hash.

    Folders ``train``, ``validation`` (or ``val``, ``valid``) and ``test`` directly below `root` are the splits. A
    missing one is a tenth of the training sounds; without any, the splits are 80 / 10 / 10. A hash of its path
    assigns each file, so that adding a sound moves no other to another split.

    Folders below that are classes, numbered in alphabetical order; without them there are no labels. Hidden files are
    ignored. All sounds are read at once, resampled, mixed to one channel, and kept with one byte per sample.

    Args:
        root: The folder.
        length: T, samples of one example.
        levels: K, from 2 to 256, by the μ-law.
        rate: Samples per second.
        seed: Seed of the random crops in training.
        splits: A csv file with columns ``path`` and ``split``, absolute or within `root`.
        on_error: ``raise`` an error that lists the sounds that cannot be read, or ``skip`` them.

    Raises:
        ValueError: If an option is out of range, sounds cannot be read, there are fewer than three, the splits are
            ambiguous, or only some sounds lie in class folders.

    Example:
        >>> import numpy as np
        >>> from scipy.io import wavfile
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as root:
        ...     for number in range(50):
        ...         wavfile.write(f"{root}/{number}.wav", 8000, np.zeros(300, np.int16))
        ...     data = AudioFolder(root, length=200)
        >>> data.spec, len(data.train), len(data.validation), len(data.test)
        (DataSpec(shape=(1, 200), levels=256, num_classes=()), 40, 5, 5)
    """

    def __init__(
        self,
        root: str | Path,
        length: int,
        levels: int = 256,
        rate: int = 16000,
        seed: int = 0,
        splits: str | Path | None = None,
        on_error: OnError = "raise",
    ) -> None:
        _check_options(length, levels, rate, seed)
        if on_error not in ("raise", "skip"):
            raise ValueError(f"on_error={on_error!r} must be 'raise' or 'skip'")
        folder = Path(root).expanduser()
        divided = divide(folder, find_files(folder, EXTENSIONS, "sound"), splits)
        sounds, unreadable = _readable(folder, list(divided.splits), rate, levels)
        divided = divided.without(unreadable, "sounds", on_error)
        recordings: dict[SplitName, list[Recording]] = {"train": [], "validation": [], "test": []}
        for name, members in recordings.items():
            labels = divided.labels(name).tolist()
            files = divided.members(name)
            members += [Recording(sounds[file], tuple(y), file) for file, y in zip(files, labels, strict=True)]
        class_names = (divided.classes,) if divided.classes else ()
        super().__init__(recordings, length=length, levels=levels, rate=rate, class_names=class_names, seed=seed)
