"""The files for ``pixelvae encode``: those of a checkpoint's data set, or any others."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pixelvae.checkpoint import load_config
from pixelvae.commands.checkpoints import DataFactory, open_data
from pixelvae.data import DataSet, Split
from pixelvae.data.files import OnError
from pixelvae.data.given import GivenFiles, JoinedSplits, list_files
from pixelvae.data.splits import SplitName
from pixelvae.models.base import GenerativeModel
from pixelvae.reporting.figures import label_texts

SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")
_RATES = {"AudioFolder": 16000, "SpokenDigits": 8000}  # samples per second, if a configuration has no rate
_LOG = logging.getLogger("pixelvae")


class Source(NamedTuple):
    """Examples, and columns of their table: a path, a split (or nothing) and the names of the classes of each."""

    examples: Split
    path: Sequence[str]
    split: Sequence[str]
    label: Sequence[str]

    def names(self, rows: Sequence[int]) -> list[str]:
        """The paths of some files below the folder that holds all files of the source."""
        above = os.path.commonpath([os.path.dirname(path) for path in self.path]) if len(self.path) > 1 else ""
        return [os.path.relpath(self.path[row], above) if above else self.path[row] for row in rows]


class Member(NamedTuple):
    """A file of the data set: its split, the names of its classes, and its labels (L,)."""

    split: str
    label: str
    y: Tensor


class Opened(NamedTuple):
    """A model, options for reading files, and its data set.

    Attributes:
        checkpoint: The folder.
        model: The model, on its device.
        options: Options for reading files from the checkpoint's configuration, see `GivenFiles`.
        data: Makes the data set that replaces the training data, or None.
        trust: Modules whose classes the checkpoint may name.
    """

    checkpoint: Path
    model: GenerativeModel
    options: Mapping[str, Any]
    data: DataFactory | None
    trust: str | None

    def data_set(self) -> DataSet:
        """The data set."""
        return open_data(self.checkpoint, self.model, self.data, self.trust)

    def may_hold(self, files: Sequence[Path]) -> bool:
        """Whether some of the files may be in the data set, so that it must be opened."""
        folder = _root(self.options)
        return self.data is not None or (
            folder is not None and folder.is_dir() and any(_is_within(file, folder) for file in files)
        )


def opened(checkpoint: Path, model: GenerativeModel, data: DataFactory | None, trust: str | None) -> Opened:
    """A model with the options for files from its checkpoint's configuration."""
    entry = load_config(checkpoint)["data"]
    options = dict(entry.get("init_args") or {})
    rate = _RATES.get(entry["class_path"].rpartition(".")[2])
    return Opened(checkpoint, model, options if rate is None else {"rate": rate} | options, data, trust)


def described(model: GenerativeModel, options: Mapping[str, Any]) -> str:
    """One line that describes the conversion of files.

    Example:
        >>> from functools import partial
        >>> from pixelvae import AutoregressiveModel, Categorical, DataSpec, GatedPixelCNN, VectorContext
        >>> model = AutoregressiveModel(
        ...     DataSpec((1, 8, 8), levels=4), likelihood=Categorical, context=VectorContext,
        ...     decoder=partial(GatedPixelCNN, num_layers=2))
        >>> described(model, {})
        'Pictures are made grey, brought to 8x8 pixels (crop) and quantised to 4 levels.'
    """
    levels = model.spec.levels
    if len(model.spec.sites) == 1:
        return f"Sounds are resampled to {options['rate']} Hz, cut to {model.spec.sites[0]} samples, {levels} levels."
    grey = "made grey, " if model.spec.channels == 1 else ""
    size = "x".join(map(str, model.spec.sites))
    binary = "drawn as binary pixels" if options.get("binarisation") != "threshold" else "binarised by a threshold"
    quantised = binary if levels == 2 else f"quantised to {levels} levels"
    return f"Pictures are {grey}brought to {size} pixels ({options.get('fit', 'crop')}) and {quantised}."


def own_source(source: Opened, names: Sequence[SplitName]) -> Source:
    """Splits of the data set. All files are read without random crops and flips."""
    data = source.data_set()
    splits: list[Split] = [getattr(data, name) for name in names]
    members = {name: torch.arange(len(split)) for name, split in zip(names, splits, strict=True)}
    columns = [name for name, indices in members.items() for _ in indices]
    y = torch.cat([split.labels(indices) for split, indices in zip(splits, members.values(), strict=True)])
    texts = label_texts(y, data.class_names) or [""] * len(y)
    files = [f for split, indices in zip(splits, members.values(), strict=True) for f in split.files(indices)]
    root = _root(data.init_args)
    if not files or root is None:
        paths = [f"{name}/{int(i)}" for name, indices in members.items() for i in indices]
        return Source(JoinedSplits(splits), paths, columns, texts)
    return Source(_examples([root / file for file in files], source, y, data), files, columns, texts)


def given_source(source: Opened, paths: Sequence[Path], label: str | None, on_error: OnError) -> Source:
    """Any files: those in the data set have its splits and classes, others the class of their folder.

    Raises:
        ValueError: If a file cannot be read, or its class is unknown but the model is class-conditional.
    """
    spec = source.model.spec
    files, conditional = list_files(paths, spec), bool(spec.num_classes)
    if label is not None and not conditional:
        raise ValueError(f"label={label}, but this model is not class-conditional; leave label out")
    unreadable = GivenFiles(files, spec._replace(num_classes=()), source.options).unreadable()
    files = _without(files, unreadable, on_error)
    data = source.data_set() if conditional or source.may_hold(files) else None
    root = _root(data.init_args) if data else None
    members = _members(data, root) if data and root else {}
    found = [members.get(_key(file)) for file in files]
    split = [member.split if member else "" for member in found]
    if data is None or not conditional:
        texts = [member.label if member else _folder(file, paths) for file, member in zip(files, found, strict=True)]
        y = torch.zeros(len(files), 0, dtype=torch.int64)
    else:
        y = torch.stack([_y(file, member, label, data) for file, member in zip(files, found, strict=True)])
        texts = label_texts(y, data.class_names)
    return Source(_examples(files, source, y, data), [file.as_posix() for file in files], split, texts)


def of_split(source: Source, name: SplitName) -> Source:
    """The files of one split.

    Raises:
        ValueError: If there are none.
    """
    rows = [i for i, split in enumerate(source.split) if split == name]
    if not rows:
        raise ValueError(f"split={name}: none of the {len(source.path)} files is in it; leave split out")
    examples = source.examples
    assert isinstance(examples, GivenFiles)
    path, split, label = ([column[i] for i in rows] for column in source[1:])
    return Source(examples.part(rows), path, split, label)


def _examples(files: Sequence[Path], source: Opened, y: Tensor, data: DataSet | None) -> GivenFiles:
    """Files converted for the model; with labels only if it is class-conditional."""
    spec = source.model.spec
    if not spec.num_classes or data is None:
        return GivenFiles(files, spec._replace(num_classes=()), source.options)
    return GivenFiles(files, spec, source.options, labels=y, class_names=data.class_names)


def _root(options: Mapping[str, Any]) -> Path | None:
    """The folder below which the files of a data set lie; None if it has none."""
    return Path(options["root"]).expanduser() if options.get("root") else None


def _without(files: list[Path], unreadable: Mapping[Path, str], on_error: OnError) -> list[Path]:
    """The readable files; an error or a warning lists the others."""
    if not unreadable:
        return files
    listed = "".join(f"\n  {reason}" for reason in unreadable.values())
    count = f"{len(unreadable)} of {len(files)} files cannot be read"
    if on_error == "raise" or len(unreadable) == len(files):
        raise ValueError(f"{count}; mend or remove them, or set `on_error: skip`:{listed}")
    _LOG.warning("%s and are left out:%s", count, listed)
    return [file for file in files if file not in unreadable]


def _members(data: DataSet, root: Path) -> dict[Path, Member]:
    """Every file of a data set, by its resolved path."""
    found: dict[Path, Member] = {}
    for name in SPLITS:
        split: Split = getattr(data, name)
        indices = torch.arange(len(split))
        files, y = split.files(indices), split.labels(indices)
        texts = label_texts(y, data.class_names) or [""] * len(files)
        found |= {_key(root / file): Member(name, *rest) for file, *rest in zip(files, texts, y, strict=bool(files))}
    return found


def _y(file: Path, member: Member | None, label: str | None, data: DataSet) -> Tensor:
    """The labels of a file, (L,)."""
    if label is not None:
        return _parsed(label, data.class_names)
    if member is not None:
        return member.y
    names = data.class_names
    if len(names) == 1 and file.parent.name in names[0]:
        return torch.tensor([names[0].index(file.parent.name)])
    raise ValueError(
        f"{file}: the model is class-conditional, and neither the data set nor the file's folder names the class; "
        f"add --label, one of {_listed(names[0])}{' for each kind of label, with a comma' if len(names) > 1 else ''}"
    )


def _parsed(label: str, class_names: Sequence[Sequence[str]]) -> Tensor:
    """Names or numbers of classes, with commas, to labels (L,)."""
    parts = [part.strip() for part in label.split(",")]
    if len(parts) != len(class_names):
        raise ValueError(f"label={label}; wanted {len(class_names)} classes, with commas between them")
    numbers = []
    for part, names in zip(parts, class_names, strict=True):
        if part not in names and not (part.isdecimal() and int(part) < len(names)):
            raise ValueError(f"label={part}; the classes are {_listed(names)}, or their numbers from 0")
        numbers.append(list(names).index(part) if part in names else int(part))
    return torch.tensor(numbers)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")


def _folder(file: Path, paths: Sequence[Path]) -> str:
    """The class of a file: its folder, if that is below the given one; else empty."""
    return "" if file in paths or file.parent in paths else file.parent.name


@cache
def _real(folder: Path) -> Path:
    return Path(os.path.realpath(folder))


def _key(file: Path) -> Path:
    """The path of a file with resolved links to folders; each folder is resolved once."""
    return _real(file.parent) / file.name


def _is_within(file: Path, root: Path) -> bool:
    return _key(file).is_relative_to(_real(root))
