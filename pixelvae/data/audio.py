"""Sounds as data sets: wav files become μ-law levels, all of one length."""

from __future__ import annotations

import math
import re
import warnings
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pixelvae.data.draws import uniform
from pixelvae.data.files import class_folders, split_of, visible_files
from pixelvae.data.spec import ABSENT, DataSpec
from pixelvae.data.splits import BatchKey, DataSet, Split, SplitName
from pixelvae.data.transforms import mu_law_encode

# Numbers of the draws of each split, so that no two splits share them.
_STREAMS: dict[SplitName, int] = {"train": 0, "validation": 1, "test": 2}


def read_wav(file: Path, rate: int) -> Tensor:
    """A wav file of any rate, format and number of channels as a wave in [−1, 1], (N,) float64.

    Args:
        file: PCM of 8 to 32 bits, or floats.
        rate: Samples per second to which it is resampled; its channels are averaged.

    Raises:
        ValueError: If it cannot be read, or holds no sample.
    """
    from scipy.io import wavfile  # here, as below, for scipy takes seconds to import

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", wavfile.WavFileWarning)  # of chunks that are no sound
            file_rate, samples = wavfile.read(file)
    # scipy's reader meets broken bytes with whatever exception those lead to.
    except Exception as error:
        raise ValueError(f"cannot read the sound {file}: {error}; mend or remove the file") from error
    if len(samples) == 0:
        raise ValueError(f"{file} holds no sample: remove the file")
    wave = samples.astype(np.float64)
    if samples.dtype == np.uint8:
        wave = (wave - 128) / 128
    elif samples.dtype.kind == "i":
        wave /= -float(np.iinfo(samples.dtype).min)
    if wave.ndim == 2:
        wave = wave.mean(1)
    if file_rate != rate:
        from scipy.signal import resample_poly

        common = math.gcd(rate, file_rate)
        wave = resample_poly(wave, rate // common, file_rate // common)
    return torch.from_numpy(wave)


class Recording(NamedTuple):
    """One sound before it is cut to length."""

    levels: Tensor  # (N,) uint8
    labels: tuple[int, ...]


class AudioSplit(Split):
    """A split of sounds: a recording longer than the data's shape is cropped, a shorter one is padded at its end.

    Training crops at random, anew in every epoch; the other splits take the beginning, so that two evaluations
    see the same data. Padding is ``ABSENT``: there is no sound there, which is not the same as silence.

    Args:
        name: Which split.
        recordings: Kept in memory, a byte for each sample.
        spec: Shape (1, T), levels and labels.
        seed: Fixes the random crops.

    Shape:
        ``split[key]`` returns x: (B, 1, T) int64 in [0, K) or ``ABSENT``, and y: (B, L) int64.

    Example:
        >>> short = Recording(torch.tensor([3, 1, 2], dtype=torch.uint8), labels=())
        >>> split = AudioSplit("test", [short], DataSpec((1, 5), levels=4), seed=0)
        >>> split[BatchKey(torch.tensor([0]), epoch=0)][0]
        tensor([[[ 3,  1,  2, -1, -1]]])
    """

    def __init__(self, name: SplitName, recordings: Sequence[Recording], spec: DataSpec, seed: int) -> None:
        self.spec = spec
        # One tensor end to end, for a worker process gets a file handle with every tensor.
        self._levels = torch.cat([recording.levels for recording in recordings])
        self._sizes = torch.tensor([len(recording.levels) for recording in recordings])
        self._begins = self._sizes.cumsum(0) - self._sizes
        self._labels = torch.tensor([recording.labels for recording in recordings], dtype=torch.int64)
        self._crops_anew = name == "train"
        self._path = (seed, _STREAMS[name])

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


class AudioDataSet(DataSet):
    """Base of the data sets of sounds: what they share is a rate, and how recordings become three splits.

    Args:
        recordings: Of each split.
        length: T, samples of one example.
        levels: K, from 2 to 256.
        rate: Samples per second.
        num_classes: One entry for each kind of label.
        seed: Fixes the random crops of training.

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
        num_classes: tuple[int, ...],
        seed: int,
    ) -> None:
        if length < 1:
            raise ValueError(f"length={length} must be at least 1 sample")
        if seed < 0:
            raise ValueError(f"seed={seed} must not be negative")
        self.rate = rate
        spec = DataSpec((1, length), levels, num_classes)

        def split(name: SplitName) -> AudioSplit:
            if not recordings[name]:
                total = sum(map(len, recordings.values()))
                raise ValueError(f"{total} recordings leave the {name} split empty: root needs more (about 100)")
            return AudioSplit(name, recordings[name], spec, seed)

        super().__init__(split("train"), split("validation"), split("test"))


class SpokenDigits(AudioDataSet):
    """Spoken digits, 3,000 recordings of 6 speakers at 8 kHz: 2,400 / 300 / 300.

    Takes are numbered for each digit and speaker: 0-4 are the publisher's test split, 5-9 validation here, the rest
    training. Two kinds of label: the digit, and the speaker, numbered in alphabetical order.

    Reference:
        Free Spoken Digit Dataset (Jackson et al., 2018). https://github.com/Jakobovski/free-spoken-digit-dataset

    Args:
        root: Folder that holds ``recordings/{digit}_{speaker}_{take}.wav``.
        length: T, samples of one example; 4096 hold three recordings in four whole.
        levels: K, from 2 to 256, by the μ-law.
        seed: Fixes the random crops of training.

    Raises:
        ValueError: If an option is out of range, a file's name is not of that form, or a split is empty.
        FileNotFoundError: If there are no recordings.

    Example:
        >>> SpokenDigits(root="no/such/folder", length=4096)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        FileNotFoundError: SpokenDigits: no recordings/*.wav in ...
    """

    def __init__(self, root: str | Path, length: int, levels: int = 256, seed: int = 0) -> None:
        folder, rate = Path(root).expanduser(), 8000
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
            """Takes one after the other, each beginning with ten digits of all speakers in turn."""
            digit, speaker, index = takes[file]
            return index, (number[speaker] - digit) % len(number), digit

        for file in sorted(files, key=place):
            digit, speaker, index = takes[file]
            name: SplitName = "test" if index < 5 else "validation" if index < 10 else "train"
            wave = read_wav(file, rate)
            recordings[name].append(Recording(mu_law_encode(wave, levels).byte(), (digit, number[speaker])))
        super().__init__(recordings, length=length, levels=levels, rate=rate, num_classes=(10, len(number)), seed=seed)
        self.speakers = tuple(number)


def _take(file: Path) -> tuple[int, str, int]:
    """Digit, speaker and number of the take, from a file's name."""
    match = re.fullmatch(r"(\d)_([^_]+)_(\d+)\.wav", file.name)
    if match is None:
        raise ValueError(f"{file} is not named {{digit}}_{{speaker}}_{{take}}.wav: rename or remove it")
    return int(match[1]), match[2], int(match[3])


class AudioFolder(AudioDataSet):
    """Any folder of wav files, divided 80 / 10 / 10 by a hash of each file's path within it.

    The hash decides about each file alone, so that adding one moves no other to another split. Folders directly
    below `root` are classes, numbered in alphabetical order; a folder of sounds alone has no labels. Hidden files
    are left out. All are read at once, resampled, mixed to one channel, and kept as a byte for each sample.

    Args:
        root: The folder.
        length: T, samples of one example.
        levels: K, from 2 to 256, by the μ-law.
        rate: Samples per second.
        seed: Fixes the random crops of training.

    Raises:
        ValueError: If an option is out of range, a file cannot be read, the folder holds too few files to divide,
            or some lie in class folders and others do not.

    Example:
        >>> from scipy.io import wavfile
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as root:
        ...     for number in range(50):
        ...         wavfile.write(f"{root}/{number}.wav", 8000, np.zeros(300, np.int16))
        ...     data = AudioFolder(root, length=200)
        >>> data.spec, len(data.train), len(data.validation), len(data.test)
        (DataSpec(shape=(1, 200), levels=256, num_classes=()), 40, 5, 5)
    """

    def __init__(self, root: str | Path, length: int, levels: int = 256, rate: int = 16000, seed: int = 0) -> None:
        if rate < 1:
            raise ValueError(f"rate={rate} must be at least 1 sample per second")
        folder = Path(root).expanduser()
        files = visible_files(folder, frozenset({".wav"}), "sound")
        number = {name: i for i, name in enumerate(class_folders(folder, files))}
        recordings: dict[SplitName, list[Recording]] = {"train": [], "validation": [], "test": []}
        for file in files:
            labels = (number[file.partition("/")[0]],) if number else ()
            levels_of_file = mu_law_encode(read_wav(folder / file, rate), levels).byte()
            recordings[split_of(file)].append(Recording(levels_of_file, labels))
        num_classes = (len(number),) if number else ()
        super().__init__(recordings, length=length, levels=levels, rate=rate, num_classes=num_classes, seed=seed)
