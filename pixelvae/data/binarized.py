"""The fixed binarisation of MNIST, for comparison with published results on static binary digits."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from pixelvae.data.idx import CURE
from pixelvae.data.images import ImageSplit
from pixelvae.data.spec import DataSpec
from pixelvae.data.splits import DataSet, SplitName
from pixelvae.data.transforms import Quantiser
from pixelvae.download import fetch
from pixelvae.storage import explained, write_atomically

_SIZE = 28
_ROW = 2 * _SIZE**2  # bytes of a line: 784 digits, each with a space or the line's end behind it
_ZERO, _SPACE, _END = b"0 \n"


class BinarizedMNIST(DataSet):
    """70,000 handwritten digits, 28x28 binary pixels from one fixed draw, no labels: 50,000 / 10,000 / 10,000.

    The PixelVAE paper uses these files. `MNIST` with two levels draws its pixels again in every epoch, so the nats of
    the two are not comparable.

    Reference:
        On the Quantitative Analysis of Deep Belief Networks (Salakhutdinov, Murray, 2008).
        https://doi.org/10.1145/1390156.1390266
        The Neural Autoregressive Distribution Estimator (Larochelle, Murray, 2011), who publish the files.
        https://proceedings.mlr.press/v15/larochelle11a.html

    Args:
        root: Folder of all data sets, with BinarizedMNIST/binarized_mnist_{train,valid,test}.amat.
        download: Download missing files.

    Raises:
        ValueError: If a file is damaged, or cannot be downloaded.
        FileNotFoundError: If a file is missing and `download` is false.

    Example:
        >>> BinarizedMNIST(root="no/such/folder")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        FileNotFoundError: BinarizedMNIST: no BinarizedMNIST/binarized_mnist_train.amat, ...
    """

    url: ClassVar[str] = "http://www.cs.toronto.edu/~larocheh/public/datasets/binarized_mnist"

    num_examples: ClassVar[dict[SplitName, int]] = {"train": 50_000, "validation": 10_000, "test": 10_000}
    """Rows that each file must have."""

    def __init__(self, root: str | Path, download: bool = False) -> None:
        folder = Path(root).expanduser()
        if not download:
            self._require_files(folder)
        super().__init__(*(self._split(folder, name, download) for name in self.num_examples))

    @staticmethod
    def _path(name: SplitName) -> str:
        return f"BinarizedMNIST/binarized_mnist_{'valid' if name == 'validation' else name}.amat"

    @classmethod
    def _require_files(cls, root: Path) -> None:
        paths = [cls._path(name) for name in cls.num_examples]
        if missing := [path for path in paths if not (root / path).is_file()]:
            raise FileNotFoundError(
                f"BinarizedMNIST: no {', '.join(missing)} in {root.absolute()}: set `root` to the folder that holds "
                "them, or `download: true` to fetch them"
            )

    @classmethod
    def _split(cls, root: Path, name: SplitName, download: bool) -> ImageSplit:
        path, num_rows = root / cls._path(name), cls.num_examples[name]
        if download and not path.is_file():
            content = fetch(f"{cls.url}/{path.name}", limit=2 * num_rows * _ROW)
            bits = parse_amat(content, num_rows, f"{cls.url}/{path.name}")  # a damaged download is not kept
            write_atomically(path, content)
        else:
            with explained(path, "read"):
                content = path.read_bytes()
            bits = parse_amat(content, num_rows, str(path))
        spec = DataSpec((1, _SIZE, _SIZE), levels=2, num_classes=())
        unlabelled = torch.empty(num_rows, 0, dtype=torch.int64)
        return ImageSplit(name, bits, unlabelled, spec, Quantiser(2, "threshold", source_levels=2))


def parse_amat(content: bytes, num_rows: int, name: str) -> Tensor:
    """Binary images of an amat file: a line for each, with 784 digits 0 or 1 separated by single spaces.

    Args:
        content: Content of the file.
        num_rows: Required number N of lines.
        name: Name of the file, for the message.

    Shape:
        Returns (N, 1, 28, 28) uint8 in {0, 1}.

    Raises:
        ValueError: If the number of lines, the form of a line or a digit is wrong; the message gives the first such
            line.

    Example:
        >>> parse_amat((b"0 1 " * 392)[:-1] + b"\\n", 1, "one.amat").sum()
        tensor(392)
    """
    content = content.replace(b"\r\n", b"\n").replace(b" \n", b"\n")
    if content and not content.endswith(b"\n"):
        content += b"\n"
    lengths = np.diff(np.flatnonzero(np.frombuffer(content, np.uint8) == _END), prepend=-1)  # of lines, in bytes
    if (odd := np.flatnonzero(lengths != _ROW)).size:
        raise ValueError(f"{name}, line {odd[0] + 1}: wanted 784 values 0 or 1, separated by single spaces: {CURE}")
    if len(lengths) != num_rows:
        raise ValueError(f"{name} holds {len(lengths):,} images, wanted {num_rows:,}: {CURE}")
    rows = np.frombuffer(content, np.uint8).reshape(num_rows, _ROW)
    bits, separators = rows[:, ::2] - _ZERO, rows[:, 1:-1:2]  # below "0" the difference wraps around to above 1
    if (odd := np.flatnonzero((bits > 1).any(1) | (separators != _SPACE).any(1))).size:
        raise ValueError(f"{name}, line {odd[0] + 1}: wanted 784 values 0 or 1, separated by single spaces: {CURE}")
    return torch.from_numpy(bits.reshape(num_rows, 1, _SIZE, _SIZE))
