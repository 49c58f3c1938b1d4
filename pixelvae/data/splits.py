"""Data sets of three splits, and the order of batches."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple, Self

import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from pixelvae.data.draws import permutation
from pixelvae.data.spec import DataSpec

SplitName = Literal["train", "validation", "test"]

_GOLDEN_RATIO = (5**0.5 - 1) / 2
_CANDIDATES = 50  # examples whose labels are read per chosen example


class BatchKey(NamedTuple):
    """The key of a batch: its examples, and the epoch of their random draws.

    Args:
        indices: (B,) int64, positions in the split.
        epoch: Counts the passes over the split, from 0.
    """

    indices: Tensor
    epoch: int


class Split(Dataset[tuple[Tensor, Tensor]], ABC):
    """Abstract split (train, validation or test): ``split[key]`` is a whole batch, processed at once.

    The sampler of a loader yields keys: ``DataLoader(split, sampler=Batches(len(split), 128, seed=0),
    batch_size=None, num_workers=2)``.

    Shape:
        ``split[key]`` returns x: (B, C, *S) int64 in [0, K) and y: (B, L) int64, L = len(spec.num_classes).
    """

    spec: DataSpec

    @abstractmethod
    def __len__(self) -> int:
        """Number of examples."""

    @abstractmethod
    def __getitem__(self, key: BatchKey) -> tuple[Tensor, Tensor]:
        """The batch (x, y): a function of `key` alone, in any process."""

    @property
    def class_names(self) -> tuple[tuple[str, ...], ...]:
        """A name for each class of each kind of label; by default its number."""
        return tuple(tuple(map(str, range(number))) for number in self.spec.num_classes)

    def images(self, indices: Sequence[int] | Tensor) -> Tensor:
        """x of some examples (also of sounds), as in evaluation: B positions -> (B, C, *S) int64.

        Raises:
            ValueError: If there is no example at a position.
        """
        return self[BatchKey(self.positions(indices), epoch=0)][0]

    def labels(self, indices: Sequence[int] | Tensor) -> Tensor:
        """The labels of some examples, (B,) -> (B, L); if possible without reading the examples."""
        return torch.cat([self[BatchKey(part, epoch=0)][1] for part in self.positions(indices).split(1000)])

    def positions(self, indices: Sequence[int] | Tensor) -> Tensor:
        """A range, list or tensor of B positions as (B,) int64.

        Raises:
            ValueError: If there is no example at a position.
        """
        chosen = torch.as_tensor(list(indices) if isinstance(indices, range) else indices).long().reshape(-1)
        if len(chosen) and not 0 <= int(chosen.min()) <= int(chosen.max()) < len(self):
            raise ValueError(
                f"indices {int(chosen.min())} .. {int(chosen.max())}; the split has examples 0 .. {len(self) - 1}"
            )
        return chosen

    def files(self, indices: Tensor) -> list[str]:
        """Paths of some examples within the folder of the data set, (B,) -> B; none where examples are no files."""
        return []

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self):,} examples of {self.spec.summary})"


class DataSet(ABC):
    """Abstract data set of three disjoint splits.

    The arguments of the constructor are the configuration of a data set. A `seed` affects random draws, such as those
    of binary pixels, and never the splits.

    Args:
        train: Examples for training.
        validation: Examples for model selection.
        test: Examples for reported results.
    """

    train: Split
    validation: Split
    test: Split
    init_args: dict[str, Any]
    """The constructor's arguments by name, defaults included: the configuration of the data set."""

    def __new__(cls, *args: Any, **options: Any) -> Self:
        """Record the constructor's arguments for the configuration of a run; ``__init__`` checks them."""
        data = super().__new__(cls)
        try:
            bound = inspect.signature(cls).bind_partial(*args, **options)
            bound.apply_defaults()
            data.init_args = dict(bound.arguments)
        except TypeError:  # __init__ raises the same error, with the traceback that the caller expects
            data.init_args = {}
        return data

    @abstractmethod
    def __init__(self, train: Split, validation: Split, test: Split) -> None:
        self.train = train
        self.validation = validation
        self.test = test

    @property
    def spec(self) -> DataSpec:
        """Shape, levels and labels, the same for all three splits."""
        return self.train.spec

    @property
    def class_names(self) -> tuple[tuple[str, ...], ...]:
        """A name for each class of each kind of label, the same for all three splits."""
        return self.train.class_names

    def __repr__(self) -> str:
        sizes = f"{len(self.train):,} train, {len(self.validation):,} validation, {len(self.test):,} test"
        return f"{type(self).__name__}({self.spec.summary}: {sizes})"


class Batches(Sampler[BatchKey]):
    r"""Endless training batches: step t is a function of (seed, t), so a resumed run needs no state.

    An epoch is a permutation of the examples, divided into joint batches of B · W; a remainder is dropped (each epoch
    has a new permutation, so no example is always dropped). Rank r takes its own B of every joint batch.

    .. math:: \text{indices}_{t,r} = \pi_e[(sW + r)B : (sW + r + 1)B],
        \quad (e, s) = \mathrm{divmod}(t, \lfloor N / BW \rfloor)

    Args:
        num_examples: N, the size of the split.
        batch_size: B, examples per rank and step.
        seed: Seed of the permutations.
        start: The first step: 0, or the step of a checkpoint.
        rank: r, the rank of this process.
        world_size: W, number of processes.

    Raises:
        ValueError: If an epoch is smaller than a joint batch, or an argument is out of range.

    Example:
        >>> from itertools import islice
        >>> first = list(islice(Batches(num_examples=10, batch_size=4, seed=0), 3))
        >>> [(key.epoch, len(key.indices)) for key in first]
        [(0, 4), (0, 4), (1, 4)]
        >>> resumed = next(iter(Batches(num_examples=10, batch_size=4, seed=0, start=2)))
        >>> bool((resumed.indices == first[2].indices).all())
        True
    """

    def __init__(
        self,
        num_examples: int,
        batch_size: int,
        *,
        seed: int,
        start: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        _require_positive("batch_size", batch_size)
        _require_positive("world_size", world_size)
        if not 0 <= rank < world_size:
            raise ValueError(f"rank={rank} must lie in 0 .. world_size-1 = {world_size - 1}")
        if start < 0 or seed < 0:
            raise ValueError(f"start={start} and seed={seed} must not be negative")
        if num_examples < batch_size * world_size:
            raise ValueError(
                f"batch_size={batch_size} on {world_size} processes needs {batch_size * world_size} examples a "
                f"step, the split has {num_examples}: lower batch_size to at most {num_examples // world_size}"
            )
        self.num_examples = num_examples
        self.batch_size = batch_size
        self.seed = seed
        self.start = start
        self.rank = rank
        self.world_size = world_size

    @property
    def steps_per_epoch(self) -> int:
        """Complete joint batches in one epoch."""
        return self.num_examples // (self.batch_size * self.world_size)

    def __iter__(self) -> Iterator[BatchKey]:
        """Endless keys from step `start` on."""
        epoch, first = divmod(self.start, self.steps_per_epoch)
        while True:
            order = torch.from_numpy(permutation(self.num_examples, self.seed, epoch))  # (N,)
            for step in range(first, self.steps_per_epoch):
                begin = (step * self.world_size + self.rank) * self.batch_size
                # A copy: a slice would send the epoch's whole permutation to a worker process.
                yield BatchKey(order[begin : begin + self.batch_size].clone(), epoch)
            epoch, first = epoch + 1, 0


def sequential(split: Split, batch_size: int, max_examples: int | None = None) -> Iterator[BatchKey]:
    """Yield every example once, in order, for evaluation, including a smaller last batch.

    Args:
        split: The split.
        batch_size: Examples per batch.
        max_examples: Maximum number of examples, spread over the split, see `spread`; None for all.

    Raises:
        ValueError: If `batch_size` or `max_examples` is not positive.

    Example:
        >>> from pixelvae.data import Digits
        >>> [len(key.indices) for key in sequential(Digits().validation, 150)]
        [150, 50]
    """
    _require_positive("batch_size", batch_size)
    return (BatchKey(part, epoch=0) for part in spread(len(split), max_examples).split(batch_size) if len(part))


def spread(num_examples: int, n: int | None) -> Tensor:
    r"""At most n positions, spread over a split, in order, even if the split is sorted by class or classes alternate.

    These are the i whose multiples of the golden ratio have the smallest fractional parts. The gaps between them have
    at most three sizes, and match no period of the split. A larger n only adds positions.

    .. math:: \{i : i\varphi \bmod 1 \text{ is among the } n \text{ smallest}\}, \quad \varphi = (\sqrt5 - 1)/2

    Reference:
        The Art of Computer Programming, volume 3 (Knuth, 1998), section 6.4, theorem S (three gaps).

    Args:
        num_examples: N, the size of the split.
        n: Maximum number of positions, None for all.

    Shape:
        Returns (min(n, N),) int64.

    Raises:
        ValueError: If n is not positive.

    Example:
        >>> spread(100, 5), spread(3, None)
        (tensor([ 0, 13, 34, 68, 89]), tensor([0, 1, 2]))
    """
    if n is not None:
        _require_positive("the number of examples", n)
    every = torch.arange(num_examples)
    if n is None or n >= num_examples:
        return every
    fractions = (every.double() * _GOLDEN_RATIO).frac()
    return fractions.argsort(stable=True)[:n].sort().values


def spread_over_classes(split: Split, n: int) -> Tensor:
    """At most n positions, spread over a split, with as many classes (of the first kind) as possible, in order.

    Shape:
        Returns (min(n, N),) int64.

    Raises:
        ValueError: If n is not positive.

    Example:
        >>> from pixelvae.data import Digits
        >>> test = Digits().test
        >>> sorted(test.labels(spread_over_classes(test, 10)).flatten().tolist())
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    """
    candidates = spread(len(split), _CANDIDATES * n)
    if not split.spec.num_classes:
        return spread(len(split), n)
    seen: dict[int, int] = {}  # occurrences of each class so far
    turns = []
    for label in split.labels(candidates)[:, 0].tolist():
        turns.append(seen.setdefault(label, 0))
        seen[label] += 1
    return candidates[torch.tensor(turns).argsort(stable=True)[:n]].sort().values


def _require_positive(name: str, value: int) -> None:
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}")
