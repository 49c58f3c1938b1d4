"""Laws of the consistency of posteriors: how pictures are moved, the KL of two posteriors, and what training gains."""

import math
from functools import partial

import pytest
import torch

import pixelvae as pv
from opaque import Opaque
from pixelvae.data.spec import DataSpec
from pixelvae.distributed import World
from pixelvae.latents.distributions import DiagonalNormal
from pixelvae.models.base import Bound
from pixelvae.training.consistency import MAX_DEGREES, MAX_SCALE, MAX_SHIFT, NUM_DRAWS, divergence, moved
from pixelvae.training.loop import Observer
from pixelvae.training.objective import Objective
from pixelvae.training.options import TrainingOptions
from pixelvae.training.trainer import Trainer
from small_runs import CONFIG, small_data, small_fit, small_model

CPU = torch.device("cpu")


def draws(size, seed=0):
    return torch.rand(size, NUM_DRAWS, generator=torch.Generator().manual_seed(seed))


def moved_by_hand(picture, draw):
    """One pixel after another, from the formula."""
    _, height, width = picture.shape
    angle, scale, down, right = (2 * draw.double() - 1).tolist()
    angle, scale = angle * math.radians(MAX_DEGREES), 1 + MAX_SCALE * scale
    result = torch.zeros_like(picture)
    for row in range(height):
        for column in range(width):
            r, c = row - (height - 1) / 2, column - (width - 1) / 2
            source_r = scale * (math.cos(angle) * r + math.sin(angle) * c) + MAX_SHIFT * height * down
            source_c = scale * (math.cos(angle) * c - math.sin(angle) * r) + MAX_SHIFT * width * right
            nearest_r = min(max(round(source_r + (height - 1) / 2), 0), height - 1)
            nearest_c = min(max(round(source_c + (width - 1) / 2), 0), width - 1)
            result[:, row, column] = picture[:, nearest_r, nearest_c]
    return result


@pytest.mark.parametrize("shape", [(1, 9, 9), (3, 12, 7)])
def test_a_moved_picture_follows_the_formula(shape):
    """Also where height and width differ; a picture depends on its own draws alone."""
    x = torch.randint(256, (6, *shape), generator=torch.Generator().manual_seed(1))
    expected = torch.stack([moved_by_hand(*pair) for pair in zip(x, draws(6), strict=True)])
    assert torch.equal(moved(x, draws(6)), expected)
    assert torch.equal(moved(x[3:4], draws(6)[3:4]), expected[3:4])
    assert not torch.equal(expected, x)


def test_a_moved_picture_of_28_pixels_moves_by_two_at_most_and_turns_by_15_degrees():
    x = torch.zeros(1, 1, 28, 28, dtype=torch.long)
    x[..., 14, 14] = 1
    found = moved(x, torch.tensor([[0.5, 0.5, 0.0, 0.5]])).nonzero()[0].tolist()
    assert found == [0, 0, 16, 14]  # a shift of the sources up moves the picture down, by 1.96 pixels
    bar = torch.zeros(1, 1, 29, 29, dtype=torch.long)
    bar[..., 14, :] = 1
    rows, columns = moved(bar, torch.tensor([[1.0, 0.5, 0.5, 0.5]]))[0, 0].nonzero().double().T
    slope = ((rows - 14) * (columns - 14)).sum() / (columns - 14).square().sum()
    assert math.degrees(math.atan(abs(slope))) == pytest.approx(15, abs=1)


def test_the_divergence_of_normals_is_that_of_torch():
    generator = torch.Generator().manual_seed(0)
    q, p = (
        DiagonalNormal(torch.randn(5, 3, generator=generator), torch.rand(5, 3, generator=generator) + 0.1)
        for _ in range(2)
    )
    normals = [torch.distributions.Normal(part.loc, part.scale) for part in (q, p)]
    expected = torch.distributions.kl_divergence(*normals).sum(1)
    torch.testing.assert_close(divergence(q, p, torch.zeros(5, 3)), expected)


def test_the_divergence_of_other_posteriors_is_estimated_without_bias():
    q = DiagonalNormal(torch.tensor([[0.3, -0.2]]).expand(20_000, 2), torch.tensor([[0.5, 1.5]]).expand(20_000, 2))
    p = DiagonalNormal(torch.zeros(20_000, 2), torch.ones(20_000, 2))
    estimate = divergence(Opaque(q), p, torch.randn(20_000, 2, generator=torch.Generator().manual_seed(0)))
    error = float(estimate.std()) / math.sqrt(20_000)
    assert float(estimate.mean()) == pytest.approx(float(divergence(q, p, estimate)[0]), abs=4 * error)


def test_the_loss_gains_the_weighted_mean_and_nothing_else():
    bound = Bound(torch.tensor([-3.0, -5.0]), torch.tensor([[1.0], [3.0]]))
    plain = Objective().loss(bound, 1.0, lambda value: value)
    loss = Objective(consistency=0.5).loss(bound, 1.0, lambda value: value, None, torch.tensor([4.0, 8.0]))
    assert float(loss - plain) == pytest.approx(3.0)


class Seen(Observer):
    """The reports of every step."""

    def __init__(self):
        self.records = []

    def on_step(self, record):
        self.records.append(record)


def test_training_makes_posteriors_consistent_and_reports_the_bound_alone(tmp_path):
    """The same steps with and without; what is reported is the bound, without the new term."""
    x = small_data().test.images(range(100))
    found = {}
    for weight in (0.0, 3.0):
        seen = Seen()
        model = small_fit(
            tmp_path / str(weight), steps=40, batch_size=32, learning_rate=1e-2, observer=seen,
            objective=Objective(consistency=weight), validate_every=40, checkpoint_every=40,
        ).model  # fmt: skip
        with torch.inference_mode():
            y = torch.zeros(len(x), 1, dtype=torch.long)
            q, p = model.encode(moved(x, draws(len(x))), y), model.encode(x, y)
            found[weight] = float(divergence(q, p, torch.zeros(len(x), 3)).mean())
        excess = [record.loss + record.log_px - float(record.kl_groups.sum()) for record in seen.records]
        assert (max(map(abs, excess)) < 1e-3) == (weight == 0)
    assert found[3.0] < 0.5 * found[0.0]


@pytest.mark.parametrize("kind", ["no latents", "a sound"])
def test_consistency_wants_pictures_and_latents(kind):
    config = CONFIG | {"encoder": None, "prior": None, "latent_dim": 0}
    make = {
        "no latents": partial(small_model, config),
        "a sound": partial(pv.PixelVAE.default, DataSpec((1, 64), 256), latent_dim=2),
    }
    with pytest.raises(ValueError, match=r"objective.consistency=1.0 moves pictures .*; set objective.consistency: 0"):
        Trainer(make[kind](), TrainingOptions(compile="never"), Objective(consistency=1.0), World(CPU), 0)


def test_every_step_moves_the_pictures_in_its_own_way():
    trainer = Trainer(small_model(), TrainingOptions(compile="never"), Objective(consistency=1.0), World(CPU), 0)
    first = trainer.moves(8)[0]
    assert torch.equal(trainer.moves(8)[0], first)
    trainer.step = 1
    assert not torch.equal(trainer.moves(8)[0], first)
    assert 0 <= first.min() < first.max() < 1
