"""Levels are evenly spread, or follow the μ-law; binary pixels are draws with the grey value as their probability."""

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from pixelvae.data import ABSENT
from pixelvae.data.transforms import Quantiser, mu_law_decode, mu_law_encode, requantise


class TestRequantise:
    @pytest.mark.parametrize(
        ("levels", "source_levels"), [(k, 256) for k in range(2, 257)] + [(k, 17) for k in range(2, 18)]
    )
    def test_levels_are_in_order_and_evenly_spread(self, levels: int, source_levels: int) -> None:
        x = requantise(torch.arange(source_levels, dtype=torch.uint8), levels, source_levels)
        counts = x.bincount(minlength=levels)
        assert x.dtype == torch.int64
        assert (x.diff() >= 0).all()
        assert len(counts) == levels
        assert counts.max() - counts.min() <= 1

    def test_all_source_levels_are_kept_as_they_are(self) -> None:
        grey = torch.arange(256, dtype=torch.uint8)
        assert (requantise(grey, 256) == grey).all()


def ramp(num_examples: int, source_levels: int = 256) -> torch.Tensor:
    """Every grey value once in every example, (N, 1, 1, S)."""
    return torch.arange(source_levels).expand(num_examples, 1, 1, source_levels)


class TestDynamicBinarisation:
    quantise = Quantiser(levels=2)

    @pytest.mark.parametrize("source_levels", [17, 256])
    def test_frequency_of_ink_is_the_grey_value(self, source_levels: int) -> None:
        n = 4000
        quantise = Quantiser(levels=2, source_levels=source_levels)
        ink = quantise(ramp(n, source_levels), torch.arange(n), stream=(0, 0)).sum(0).flatten().numpy()
        assert ink[0] == 0  # no ink at grey value 0, nothing but ink at the highest
        assert ink[-1] == n
        p = np.arange(1, source_levels - 1) / (source_levels - 1)
        z_squared = (ink[1:-1] - n * p) ** 2 / (n * p * (1 - p))  # each about chi-square with 1 degree of freedom
        assert abs(z_squared.mean() - 1) < 5 * np.sqrt(2 / len(p))

    def test_draws_of_one_pixel_are_fair_across_epochs(self) -> None:
        grey, indices = torch.full((8, 1, 5, 5), 127), torch.arange(8)
        ink = sum(int(self.quantise(grey, indices, stream=(0, epoch)).sum()) for epoch in range(500))
        n = 8 * 25 * 500
        assert chisquare([ink, n - ink], [n * 127 / 255, n * 128 / 255]).pvalue > 1e-4

    def test_a_draw_depends_on_its_index_not_on_its_batch(self) -> None:
        indices = torch.tensor([3, 11, 0])
        x = self.quantise(ramp(3), indices, stream=(0, 4))
        for row, index in zip(x, indices, strict=True):
            assert (self.quantise(ramp(1), index.reshape(1), stream=(0, 4))[0] == row).all()

    def test_seed_stream_and_index_each_give_another_draw(self) -> None:
        def draw(seed: int, index: int, stream: tuple[int, ...]) -> tuple[int, ...]:
            x = Quantiser(levels=2, seed=seed)(ramp(1), torch.tensor([index]), stream)
            return tuple(x.flatten().tolist())

        paths = [(0, 0, (0, 0)), (1, 0, (0, 0)), (0, 1, (0, 0)), (0, 0, (1, 0)), (0, 0, (0, 1))]
        assert len({draw(*path) for path in paths}) == len(paths)
        assert draw(*paths[0]) == draw(*paths[0])

    def test_dynamic_is_the_default_of_two_levels(self) -> None:
        arguments = ramp(1), torch.tensor([0]), (0, 0)
        assert (Quantiser(2)(*arguments) == Quantiser(2, "dynamic")(*arguments)).all()

    def test_colours_of_a_pixel_are_drawn_apart(self) -> None:
        x = self.quantise(torch.full((1, 3, 16, 16), 127), torch.tensor([0]), stream=(0, 0))
        assert not (x[:, 0] == x[:, 1]).all()


def test_threshold_cuts_in_the_middle_and_draws_nothing() -> None:
    x = Quantiser(2, "threshold")(ramp(2), torch.arange(2), stream=(0, 0))
    assert (x == (ramp(2) >= 128)).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"levels": 1}, "levels=1 must lie in 2 .. 256"),
        ({"levels": 257}, "levels=257 must lie in 2 .. 256"),
        ({"levels": 18, "source_levels": 17}, "levels=18 must lie in 2 .. 17"),
        (
            {"levels": 4, "binarisation": "dynamic"},
            "'dynamic' makes two levels, but levels=4: set levels to 2 or leave",
        ),
        ({"levels": 4, "binarisation": "threshold"}, "'threshold' makes two levels, but levels=4"),
        ({"levels": 2, "binarisation": "static"}, "'static' must be 'dynamic' or 'threshold'"),
        ({"levels": 2, "seed": -1}, "seed=-1 must not be negative"),
    ],
)
def test_wrong_options_are_named(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Quantiser(**options)


class TestMuLaw:
    LEVELS = range(2, 257)

    def test_every_level_comes_back_exactly(self) -> None:
        """For every K: what a level stands for is encoded as that level."""
        for levels in self.LEVELS:
            x = torch.arange(levels)
            assert torch.equal(mu_law_encode(mu_law_decode(x, levels), levels), x), levels
            assert torch.equal(mu_law_encode(mu_law_decode(x, levels).float(), levels), x), levels

    @pytest.mark.parametrize("levels", [2, 3, 17, 255, 256])
    def test_the_levels_are_those_of_the_paper(self, levels: int) -> None:
        """By numpy, from the formula: the nearest of K values evenly spread over the companded range."""
        v = np.linspace(-1, 1, 10_001) ** 3  # denser where it is quiet
        companded = np.sign(v) * np.log(1 + (levels - 1) * np.abs(v)) / np.log(levels)
        distance = np.abs(companded[:, None] - np.linspace(-1, 1, levels)[None])
        x = mu_law_encode(torch.from_numpy(v), levels).numpy()
        assert (distance[np.arange(len(v)), x] <= distance.min(1) + 1e-12).all()
        assert set(x) == set(range(levels))
        assert (np.diff(x) >= 0).all()

    def test_it_is_finer_where_it_is_quiet(self) -> None:
        steps = mu_law_decode(torch.arange(256), 256).diff()
        assert (steps > 0).all()
        assert steps.max() > 200 * steps.min()
        assert steps.argmin() in (126, 127, 128)

    def test_both_ends_and_silence(self) -> None:
        for levels in self.LEVELS:
            assert mu_law_decode(torch.tensor([0, levels - 1]), levels).tolist() == pytest.approx([-1, 1])
            assert mu_law_encode(torch.tensor([-7.0, 7.0]), levels).tolist() == [0, levels - 1]  # clipped
        assert mu_law_encode(torch.tensor(0.0), 255) == 127
        assert mu_law_decode(torch.tensor([127]), 255) == 0
        assert mu_law_decode(torch.tensor([ABSENT]), 256) == 0

    @pytest.mark.parametrize("levels", [1, 257])
    def test_wrong_levels_are_named(self, levels: int) -> None:
        for transform in (mu_law_encode, mu_law_decode):
            with pytest.raises(ValueError, match=rf"levels={levels} must lie in 2 \.\. 256"):
                transform(torch.zeros(3), levels)
