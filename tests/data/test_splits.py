"""Batches are a function of (seed, step) in every process; evaluation yields every example once."""

from itertools import islice, pairwise

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from pixelvae.data.spec import DataSpec
from pixelvae.data.splits import Batches, BatchKey, DataSet, Split, sequential, spread, spread_over_classes


class Numbers(Split):
    """Example i is the number i; its label is the epoch that was asked for."""

    def __init__(self, num_examples: int) -> None:
        self.num_examples = num_examples
        self.spec = DataSpec(shape=(1, 1, 1), levels=num_examples, num_classes=(1000,))

    def __len__(self) -> int:
        return self.num_examples

    def __getitem__(self, key: BatchKey) -> tuple[Tensor, Tensor]:
        return key.indices.reshape(-1, 1, 1, 1), torch.full((len(key.indices), 1), key.epoch)


def take(n: int, **options: int) -> list[tuple[list[int], int]]:
    defaults = {"num_examples": 23, "batch_size": 4, "seed": 7}
    return [(key.indices.tolist(), key.epoch) for key in islice(Batches(**(defaults | options)), n)]


class TestBatches:
    def test_the_same_seed_gives_the_same_batches_and_another_seed_others(self) -> None:
        assert take(12) == take(12)
        assert take(12) != take(12, seed=8)

    def test_iterating_twice_begins_again(self) -> None:
        batches = Batches(23, 4, seed=7)
        first, second = (next(iter(batches)).indices.tolist() for _ in range(2))
        assert first == second

    @pytest.mark.parametrize("start", [0, 1, 4, 5, 6, 10, 13])
    def test_starting_at_n_equals_skipping_n(self, start: int) -> None:
        assert take(12, start=start) == take(12 + start)[start:]

    @pytest.mark.parametrize("start", [0, 3])
    @pytest.mark.parametrize("world_size", [2, 3])
    def test_ranks_together_equal_one_rank_with_the_joint_batch(self, world_size: int, start: int) -> None:
        ranks = [take(9, batch_size=2, rank=r, world_size=world_size, start=start) for r in range(world_size)]
        joint = [([i for indices, _ in step for i in indices], step[0][1]) for step in zip(*ranks, strict=True)]
        assert joint == take(9, batch_size=2 * world_size, start=start)

    def test_an_epoch_repeats_no_example_and_leaves_out_less_than_a_batch(self) -> None:
        for epoch in range(4):
            steps = take(5, start=5 * epoch)
            assert {e for _, e in steps} == {epoch}
            assert len({index for indices, _ in steps for index in indices}) == 20

    def test_a_whole_number_of_batches_is_a_permutation(self) -> None:
        indices = [index for batch, _ in take(5, num_examples=20) for index in batch]
        assert indices != sorted(indices)
        assert sorted(indices) == list(range(20))

    def test_no_example_is_left_out_for_ever(self) -> None:
        assert {index for batch, _ in take(25) for index in batch} == set(range(23))

    def test_epochs_differ(self) -> None:
        assert take(5) != [(batch, 0) for batch, _ in take(5, start=5)]

    @pytest.mark.parametrize("num_workers", [0, 2])
    def test_a_loader_fetches_whole_batches_in_order(self, num_workers: int) -> None:
        batches = Batches(23, 4, seed=7)
        loader = DataLoader(Numbers(23), sampler=batches, batch_size=None, num_workers=num_workers)
        for (x, y), (indices, epoch) in zip(loader, take(12), strict=False):
            assert x.flatten().tolist() == indices
            assert y.tolist() == [[epoch]] * 4

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (
                {"batch_size": 24},
                "batch_size=24 on 1 processes needs 24 examples a step, the split has 23: .*at most 23",
            ),
            ({"batch_size": 12, "world_size": 2}, "batch_size=12 on 2 processes needs 24 .* at most 11"),
            ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
            ({"world_size": 0}, "world_size must be at least 1, got 0"),
            ({"rank": 2, "world_size": 2}, r"rank=2 must lie in 0 .. world_size-1 = 1"),
            ({"start": -1}, "start=-1"),
            ({"seed": -1}, "seed=-1"),
        ],
    )
    def test_wrong_options_are_named(self, options: dict[str, int], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            take(1, **options)


class TestSequential:
    @pytest.mark.parametrize("batch_size", [1, 4, 23, 100])
    def test_covers_each_example_once_in_order(self, batch_size: int) -> None:
        keys = list(sequential(Numbers(23), batch_size))
        assert torch.cat([key.indices for key in keys]).tolist() == list(range(23))
        assert {key.epoch for key in keys} == {0}
        assert all(len(key.indices) == batch_size for key in keys[:-1])

    def test_gives_nothing_for_an_empty_split(self) -> None:
        assert list(sequential(Numbers(0), 4)) == []

    def test_refuses_an_empty_batch_at_once(self) -> None:
        with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
            sequential(Numbers(23), 0)


SIZES = (60, 100, 360, 500, 1297, 10_000)


class TestSpread:
    @pytest.mark.parametrize("num_examples", SIZES)
    @pytest.mark.parametrize("n", [1, 2, 3, 8, 50, 59, 60])
    def test_gives_as_many_different_positions_in_order(self, num_examples: int, n: int) -> None:
        indices = spread(num_examples, n).tolist()
        assert len(indices) == n
        assert indices == sorted(set(indices))
        assert 0 <= indices[0] <= indices[-1] < num_examples

    @pytest.mark.parametrize("num_examples", SIZES)
    @pytest.mark.parametrize("classes", [2, 3, 5, 10])
    def test_reaches_each_class_of_a_sorted_split_and_of_an_alternating_one(
        self, num_examples: int, classes: int
    ) -> None:
        indices = spread(num_examples, 4 * classes)
        assert len(set((indices * classes // num_examples).tolist())) == classes
        assert len(set((indices % classes).tolist())) == classes

    @pytest.mark.parametrize("num_examples", SIZES)
    def test_gaps_have_at_most_three_sizes(self, num_examples: int) -> None:
        for n in (5, 20, 50):
            assert len(set(spread(num_examples, n).diff().tolist())) <= 3

    def test_more_positions_hold_fewer_ones(self) -> None:
        chosen = [set(spread(500, n).tolist()) for n in range(1, 500)]
        assert all(few < more for few, more in pairwise(chosen))

    @pytest.mark.parametrize("n", [7, 8, None])
    def test_gives_the_whole_where_no_fewer_are_wanted(self, n: int | None) -> None:
        assert spread(7, n).tolist() == list(range(7))

    def test_evaluation_takes_them(self) -> None:
        keys = list(sequential(Numbers(100), 8, max_examples=20))
        assert [len(key.indices) for key in keys] == [8, 8, 4]
        assert torch.cat([key.indices for key in keys]).equal(spread(100, 20))

    @pytest.mark.parametrize("n", [0, -1])
    def test_refuses_none(self, n: int) -> None:
        with pytest.raises(ValueError, match=f"must be at least 1, got {n}"):
            spread(10, n)


class Sorted(Numbers):
    """Sorted by class: nine tenths are of class 0, the rest of the others."""

    def labels(self, indices: Tensor) -> Tensor:
        nine_tenths = self.num_examples * 9 // 10
        return torch.where(indices < nine_tenths, 0, indices - nine_tenths + 1)[:, None]


class TestSpreadOverClasses:
    def test_prefers_different_classes(self) -> None:
        split = Sorted(100)
        assert split.labels(spread_over_classes(split, 8)).flatten().unique().numel() == 8

    def test_takes_all_classes_in_turn(self) -> None:
        split = Sorted(20)
        assert sorted(split.labels(spread_over_classes(split, 6)).flatten().tolist()) == [0, 0, 0, 0, 1, 2]

    def test_gives_all_where_there_are_no_more(self) -> None:
        assert spread_over_classes(Sorted(5), 8).tolist() == [0, 1, 2, 3, 4]

    def test_without_labels_it_is_spread(self) -> None:
        split = Numbers(50)
        split.spec = split.spec._replace(num_classes=())
        assert spread_over_classes(split, 6).equal(spread(50, 6))


def test_classes_without_names_have_their_numbers() -> None:
    split = Numbers(3)
    split.spec = split.spec._replace(num_classes=(2, 3))
    assert split.class_names == (("0", "1"), ("0", "1", "2"))
    assert split.files(torch.arange(3)) == []


@pytest.mark.parametrize("abstract", [Split, DataSet])
def test_abstract_classes_cannot_be_made(abstract: type) -> None:
    with pytest.raises(TypeError, match="abstract"):
        abstract()
