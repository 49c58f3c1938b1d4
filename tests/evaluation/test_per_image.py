"""Bounds of single images are those of the means; paired differences compare the same images only."""

import math

import pytest
import torch

from pixelvae.data import BatchKey
from pixelvae.distributed import World
from pixelvae.evaluation.bounds import evaluate_bound, evaluate_importance_weighted
from pixelvae.evaluation.per_image import (
    FILE,
    PerImage,
    checksums,
    paired_difference,
    read_per_image,
    require_same_images,
    tightest_common,
    write_per_image,
)
from small_runs import small_data, small_model

WORLD = World(torch.device("cpu"))


def rows(nats, first=0):
    indices = torch.arange(first, first + len(nats))
    return PerImage(torch.as_tensor(nats, dtype=torch.double), indices, indices + 7)


@pytest.mark.parametrize(("max_images", "batch_size"), [(None, 7), (40, 16)])
@pytest.mark.parametrize("samples", [0, 2])
def test_the_mean_and_its_error_are_those_of_the_single_images(samples, max_images, batch_size):
    model, split = small_model().eval(), small_data().test
    given = {"seed": 1, "world": WORLD, "batch_size": batch_size, "max_images": max_images}
    if samples:
        found = evaluate_importance_weighted(model, split, num_samples=samples, **given)
        mean = found.log_px
    else:
        found = evaluate_bound(model, split, **given)
        mean = found.elbo
    nats, indices, sums = found.per_image
    assert len(nats) == found.num_images == (max_images or len(split))
    assert float(nats.mean()) == pytest.approx(mean, abs=1e-9)
    assert float(nats.std()) / math.sqrt(len(nats)) == pytest.approx(found.stderr, rel=1e-6)
    assert torch.equal(sums, checksums(split[BatchKey(indices, 0)][0]))


def test_a_checksum_tells_images_apart():
    """One pixel, two exchanged pixels, a shift: all 32-bit numbers differ."""
    x = torch.randint(0, 256, (200, 1, 8, 8), generator=torch.Generator().manual_seed(0))
    x = torch.cat([x, x.roll(1, -1), x.flip(-1), x.transpose(-1, -2)])
    single = torch.eye(64, dtype=torch.long).reshape(64, 1, 8, 8)
    pairs = torch.cat([single + single.roll(shift, 0) for shift in range(1, 32)])
    for images in (x, torch.cat([single, pairs])):
        found = checksums(images)
        assert len(found.unique()) == len(images)
        assert 0 <= int(found.min()) <= int(found.max()) < 2**32
        assert torch.equal(checksums(images[:5]), found[:5])


def test_every_image_has_its_own_nats_in_order():
    """Reversing the images within a batch would leave mean and error as they are."""
    model, split = small_model().eval(), small_data().test
    found = evaluate_bound(model, split, seed=1, world=WORLD, batch_size=100).per_image
    x, y = split[BatchKey(found.indices[100:200], 0)]
    with torch.inference_mode():
        bound = model(x, y, noise=torch.Generator().manual_seed(2))
    torch.testing.assert_close(found.nats[100:200], (bound.log_px - bound.kl_groups.sum(1)).double())


def test_ranks_fill_the_rows_of_one_another():
    """Three ranks, one after the other: the sum of their rows is the rows of one process."""

    class Rank(World):
        def sum(self, value):
            return value / 49 * 49  # as a mean over 49 ranks: it rounds

    model, split = small_model().eval(), small_data().test
    given = {"seed": 0, "batch_size": 70}
    whole = evaluate_bound(model, split, world=WORLD, **given).per_image
    parts = [
        evaluate_bound(model, split, world=Rank(torch.device("cpu"), rank, 3), **given).per_image for rank in range(3)
    ]
    torch.testing.assert_close(sum(part.nats for part in parts), whole.nats)
    assert torch.equal(sum(part.checksums for part in parts), whole.checksums)


def test_what_both_models_share_cancels():
    """Images differ by 100 nats, the models by 1: the paired error is zero."""
    hard = torch.linspace(-200, -100, 50)
    found = paired_difference(rows(hard + 1), rows(hard))
    assert found.mean == pytest.approx(1)
    assert found.stderr == pytest.approx(0, abs=1e-5)
    assert found.num_images == 50
    noise = torch.randn(50, generator=torch.Generator().manual_seed(0))
    noisy = paired_difference(rows(hard + noise), rows(hard))
    assert noisy.stderr == pytest.approx(float(noise.std()) / math.sqrt(50), rel=1e-4)
    assert math.isnan(paired_difference(rows([1.0]), rows([2.0])).stderr)


def test_other_images_are_refused():
    a = rows([1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="3 and 2 images at different positions"):
        paired_difference(a, rows([1.0, 2.0]))
    with pytest.raises(ValueError, match="different positions"):
        paired_difference(a, rows([1.0, 2.0, 3.0], first=1))
    with pytest.raises(ValueError, match="1 of 3 images differ"):
        paired_difference(a, a._replace(checksums=torch.tensor([7, 8, 10])))


def test_another_binarisation_is_another_image(tmp_path):
    split = small_data().test
    found = checksums(split[BatchKey(torch.arange(300), 0)][0])
    own = PerImage(torch.zeros(300).double(), torch.arange(300), found)
    require_same_images(split, own, "other")
    with pytest.raises(ValueError, match=r"other and this evaluation: \d+ of 300 images differ"):
        require_same_images(small_data(seed=1).test, own, "other")


def test_the_tightest_bound_of_both_is_compared():
    elbo, weighted, part = rows([1.0, 2.0]), rows([1.5, 2.5]), rows([1.5])
    both = {"elbo": elbo, "importance_weighted": weighted}
    assert tightest_common(both, both) == "importance_weighted"
    assert tightest_common(both, {"elbo": elbo}) == "elbo"
    assert tightest_common(both, {"elbo": elbo, "importance_weighted": part}) == "elbo"


def test_the_file_holds_what_was_written_and_damage_is_named(tmp_path):
    bounds = {"elbo": rows([1.0, 2.0]), "importance_weighted": rows([3.0])}
    write_per_image(tmp_path, bounds)
    found = read_per_image(tmp_path)
    assert {name: [t.tolist() for t in part] for name, part in found.items()} == {
        name: [t.tolist() for t in part] for name, part in bounds.items()
    }
    (tmp_path / FILE).write_bytes((tmp_path / FILE).read_bytes()[:50])
    with pytest.raises(ValueError, match="cannot be read"):
        read_per_image(tmp_path)
    write_per_image(tmp_path, {"importance_weighted": rows([3.0])})
    with pytest.raises(ValueError, match="no bounds of single images"):
        read_per_image(tmp_path)
    with pytest.raises(ValueError, match="pixelvae evaluate writes it"):
        read_per_image(tmp_path / "none")
