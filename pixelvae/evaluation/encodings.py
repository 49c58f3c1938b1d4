"""A table of encoded files, one row each, with nats and latents; its outliers, neighbours and clusters."""

from __future__ import annotations

import csv
import importlib.util
import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pixelvae.storage import write_atomically

Array = npt.NDArray[np.generic]
Floats = npt.NDArray[np.floating]

SUFFIXES = (".csv", ".parquet", ".npz")
"""File formats of the table."""


@dataclass(frozen=True, repr=False)
class Encodings:
    r"""Nats and latents of N files.

    Attributes:
        path: (N,) paths of the files, or SPLIT/NUMBER for examples that are not files.
        split: (N,) the split of the data set that contains the file; empty without one.
        label: (N,) names of classes; empty without classes.
        nats: (N,) −ELBO, or minus the importance-weighted bound.
        bits_per_dim: (N,) nats / (ln 2 · number of dimensions).
        kl: (N,) KL(q(h|x) ‖ p(h)) in nats, 0 without latents.
        h: (N, D) posterior means E[q(h|x)]; D = 0 without latents.
        scale: (D,) standard deviation of the aggregate posterior q(h) = E_x[q(h|x)]. Distances are of h / scale: a
            latent that the encoder does not use has a scale near 1 and means near 0, so it adds no distance.
        cluster: (N,) cluster indices, or None.

    Example:
        >>> text, zeros = np.array(["a.png", "b.png"]), np.zeros(2)
        >>> Encodings(text, text, text, np.array([2.0, 4.0]), zeros, zeros, np.zeros((2, 3)), np.ones(3))
        Encodings of 2 files: 3.00 nats on average (2.00 .. 4.00), KL 0.00 nats, 3 latents
    """

    path: Array
    split: Array
    label: Array
    nats: Floats
    bits_per_dim: Floats
    kl: Floats
    h: Floats
    scale: Floats
    cluster: npt.NDArray[np.integer] | None = None

    def __len__(self) -> int:
        return len(self.path)

    def __repr__(self) -> str:
        if not len(self):
            return "Encodings of 0 files"
        nats, latents = self.nats, self.h.shape[1]
        described = f", KL {self.kl.mean():.2f} nats, {latents} latents" if latents else ", no latents"
        spread = f"{nats.mean():.2f} nats on average ({nats.min():.2f} .. {nats.max():.2f})"
        return f"Encodings of {len(self):,} file{'s' * (len(self) > 1)}: {spread}{described}"

    def columns(self) -> Mapping[str, Array]:
        """All columns by name, in order: path, split, class, nats, bits_per_dim, kl, cluster, h_0 .. h_{D−1}."""
        named: dict[str, Array] = {"path": self.path, "split": self.split, "class": self.label}
        named |= {"nats": self.nats, "bits_per_dim": self.bits_per_dim, "kl": self.kl}
        if self.cluster is not None:
            named["cluster"] = self.cluster
        return named | {f"h_{d}": column for d, column in enumerate(self.h.T)}

    def save(self, path: str | Path) -> None:
        """Write the table in the format given by the suffix.

        Raises:
            ValueError: If the suffix is not a known format.
        """
        check_format(Path(path))
        {".csv": self.to_csv, ".parquet": self.to_parquet, ".npz": self.to_npz}[Path(path).suffix.lower()](path)

    def to_csv(self, path: str | Path) -> None:
        """Write a csv file; numbers have 8 digits."""
        columns = self.columns()
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        cells = [[_text(value) for value in column.tolist()] for column in columns.values()]
        writer.writerows(zip(*cells, strict=True))
        write_atomically(Path(path), text.getvalue().encode())

    def to_parquet(self, path: str | Path) -> None:
        """Write a parquet file with pandas."""
        import pandas  # imported here because it is optional

        buffer = io.BytesIO()
        pandas.DataFrame(dict(self.columns())).to_parquet(buffer, index=False)
        write_atomically(Path(path), buffer.getvalue())

    def to_npz(self, path: str | Path) -> None:
        """Write an npz file of the columns, with ``h`` (N, D) and ``scale`` (D,) as whole arrays."""
        arrays: dict[str, Any] = {name: column for name, column in self.columns().items() if name[:2] != "h_"}
        buffer = io.BytesIO()
        np.savez_compressed(buffer, h=self.h, scale=self.scale, **arrays)
        write_atomically(Path(path), buffer.getvalue())

    def worst(self, n: int) -> npt.NDArray[np.int64]:
        """Indices of the n least probable files: those with the most nats, in decreasing order."""
        return np.argsort(-self.nats, kind="stable")[:n]

    def whitened(self) -> Floats:
        """h / scale, (N, D). Neighbours and clusters use the Euclidean distance of these rows."""
        return self.h / self.scale

    def nearest(self, h: Floats, k: int) -> tuple[npt.NDArray[np.int64], Floats]:
        """The k rows nearest to given latents, nearest first, and their distances.

        Shape:
            h: (D,).  Returns (k,) and (k,).

        Raises:
            ValueError: If there are no latents.
        """
        self._require_latents()
        distances = np.linalg.norm(self.whitened() - h / self.scale, axis=1)
        order = np.argsort(distances, kind="stable")[:k]
        return order, distances[order]

    def with_clusters(self, k: int, seed: int) -> Encodings:
        """The table with a cluster for each row, from k-means of h / scale; cluster 0 is the largest.

        Raises:
            ValueError: If there are fewer rows than clusters, or no latents.
        """
        self._require_latents()
        if not 1 <= k <= len(self):
            raise ValueError(f"clusters={k}; wanted 1 .. {len(self)}, the number of files")
        from sklearn.cluster import KMeans  # imported here because it takes a second
        from threadpoolctl import threadpool_limits

        with threadpool_limits(1):  # the order of sums of several threads varies
            found = KMeans(k, n_init=10, random_state=seed).fit_predict(self.whitened())
        order = np.argsort(-np.bincount(found, minlength=k), kind="stable")
        return replace(self, cluster=np.argsort(order)[found])

    def members(self, cluster: int) -> npt.NDArray[np.int64]:
        """Indices of the rows of a cluster, nearest to its mean first."""
        if self.cluster is None:
            raise ValueError("the table has no clusters; make them with with_clusters")
        rows = np.flatnonzero(self.cluster == cluster)
        points = self.whitened()[rows]
        return rows[np.argsort(np.linalg.norm(points - points.mean(0), axis=1), kind="stable")]

    def _require_latents(self) -> None:
        if not self.h.shape[1]:
            raise ValueError("the model has no latents, so there are no neighbours and no clusters; wanted a PixelVAE")


def check_format(path: Path) -> None:
    """Check, before any work, that a table can be written.

    Raises:
        ValueError: If the suffix is not a known format, or a package is missing.

    Example:
        >>> check_format(Path("table.txt"))
        Traceback (most recent call last):
        ValueError: table.txt: a table ends in .csv, .parquet or .npz
    """
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"{path}: a table ends in .csv, .parquet or .npz")
    if path.suffix.lower() == ".parquet":
        missing = [name for name in ("pandas", "pyarrow") if importlib.util.find_spec(name) is None]
        if missing:
            advice = "pip install 'pixelvae[tables]', or choose .csv or .npz"
            raise ValueError(f"{path}: parquet needs {' and '.join(missing)}: {advice}")


def _text(value: object) -> str:
    return f"{value:.8g}" if isinstance(value, float) else str(value)
