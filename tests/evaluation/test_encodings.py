"""The table of files: reading returns what was written; neighbours, outliers and clusters match their definitions."""

import csv

import numpy as np
import pytest

from pixelvae.evaluation import encodings
from pixelvae.evaluation.encodings import Encodings, check_format


def table(h, scale=None):
    n = len(h)
    numbers = np.random.default_rng(1)
    return Encodings(
        path=np.array([f"a, {i}.png" for i in range(n)]),
        split=np.array(["train", ""] * n)[:n],
        label=np.array(["cat", 'a "dog"'] * n)[:n],
        nats=numbers.normal(100, 30, n),
        bits_per_dim=numbers.random(n),
        kl=numbers.random(n),
        h=h,
        scale=np.ones(h.shape[1]) if scale is None else scale,
    )


@pytest.fixture
def blobs():
    """Three groups of 30, 20 and 10 points, far from one another, in any order."""
    numbers = np.random.default_rng(0)
    group = numbers.permutation(np.repeat([0, 1, 2], [30, 20, 10]))
    return table(np.eye(3)[group] * 10 + numbers.normal(0, 0.1, (60, 3))), group


def test_a_csv_file_holds_every_column(tmp_path):
    written = table(np.random.default_rng(0).normal(size=(4, 2))).with_clusters(2, seed=0)
    written.to_csv(tmp_path / "t.csv")
    with (tmp_path / "t.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["path", "split", "class", "nats", "bits_per_dim", "kl", "cluster", "h_0", "h_1"]
    for name, column in written.columns().items():
        read = [row[name] for row in rows]
        if column.dtype.kind == "f":
            np.testing.assert_allclose(np.array(read, dtype=float), column, rtol=1e-7)
        else:
            assert read == [str(value) for value in column]


def test_an_npz_file_holds_whole_arrays(tmp_path):
    written = table(np.random.default_rng(0).normal(size=(4, 2)))
    written.save(tmp_path / "t.npz")
    with np.load(tmp_path / "t.npz", allow_pickle=False) as read:
        assert set(read) == {"path", "split", "class", "nats", "bits_per_dim", "kl", "h", "scale"}
        assert np.array_equal(read["h"], written.h)
        assert np.array_equal(read["path"], written.path)


def test_a_parquet_file_is_read_by_pandas(tmp_path):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    written = table(np.random.default_rng(0).normal(size=(4, 2)))
    written.save(tmp_path / "t.parquet")
    read = pandas.read_parquet(tmp_path / "t.parquet")
    assert list(read) == list(written.columns())
    assert np.array_equal(read["h_1"], written.h[:, 1])


def test_a_format_that_cannot_be_written_is_refused_before_any_work(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"t.xlsx: a table ends in .csv, .parquet or .npz"):
        check_format(tmp_path / "t.xlsx")
    monkeypatch.setattr(encodings.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"needs pandas and pyarrow: pip install 'pixelvae\[tables\]'"):
        check_format(tmp_path / "t.parquet")


def test_outliers_have_the_most_nats():
    some = table(np.zeros((20, 1)))
    worst = some.worst(5)
    assert some.nats[worst].tolist() == sorted(some.nats.tolist(), reverse=True)[:5]


def test_neighbours_are_nearest_by_brute_force_in_scaled_latents():
    numbers = np.random.default_rng(0)
    some = table(numbers.normal(size=(50, 3)) * [1, 10, 0.1], scale=np.array([1, 10, 0.1]))
    point = numbers.normal(size=3) * [1, 10, 0.1]
    rows, distances = some.nearest(point, 7)
    all_distances = [sum(((a - b) / s) ** 2 for a, b, s in zip(row, point, some.scale, strict=True)) for row in some.h]
    assert rows.tolist() == np.argsort(all_distances)[:7].tolist()
    np.testing.assert_allclose(distances**2, np.sort(all_distances)[:7])


def test_a_latent_that_is_not_used_changes_no_neighbour():
    """Its means are near 0 and its scale is near 1, the prior's: whitening by the means alone would blow it up."""
    numbers = np.random.default_rng(0)
    used = numbers.normal(size=(50, 2))
    more = np.hstack([used, numbers.normal(0, 1e-4, (50, 1))])
    rows, _ = table(more).nearest(more[0], 10)
    assert rows.tolist() == table(used).nearest(used[0], 10)[0].tolist()


def test_clusters_are_found_and_numbered_by_size(blobs):
    some, group = blobs
    found = some.with_clusters(3, seed=0).cluster
    assert found.tolist() == group.tolist()
    assert some.with_clusters(3, seed=0).cluster.tolist() == found.tolist()


@pytest.mark.parametrize("seed", range(5))
def test_cluster_0_is_the_largest_in_whatever_order_they_are_found(blobs, seed):
    some, group = blobs
    assert some.with_clusters(3, seed).cluster.tolist() == group.tolist()
    sizes = np.bincount(some.with_clusters(7, seed).cluster, minlength=7).tolist()
    assert sizes == sorted(sizes, reverse=True)


def test_members_of_a_cluster_are_nearest_to_its_mean_first(blobs):
    some, group = blobs
    members = some.with_clusters(3, seed=0).members(1)
    assert sorted(members.tolist()) == np.flatnonzero(group == 1).tolist()
    distances = np.linalg.norm(some.h[members] - some.h[members].mean(0), axis=1)
    assert (np.diff(distances) >= 0).all()


def test_what_needs_latents_or_files_says_so(blobs):
    with pytest.raises(ValueError, match=r"clusters=61; wanted 1 \.\. 60"):
        blobs[0].with_clusters(61, seed=0)
    with pytest.raises(ValueError, match="no latents, so there are no neighbours"):
        table(np.zeros((3, 0))).nearest(np.zeros(0), 1)
    with pytest.raises(ValueError, match="the table has no clusters"):
        blobs[0].members(0)
