"""Laws of encoding files: nats are those of the model, and a row depends on its file and the seed alone."""

import shutil
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

import speech
import tiny
from families import SMALL_CNN
from pixelvae import AutoregressiveModel, Categorical, DataSpec, VectorContext
from pixelvae.data.given import GivenFiles, content_key
from pixelvae.data.splits import BatchKey, Split
from pixelvae.evaluation.encoding import encode_files

pytestmark = pytest.mark.usefixtures("float64")
GREY = DataSpec((1, 4, 4), levels=4)


class InMemory(Split):
    """x and y as a split."""

    def __init__(self, x, spec, y=None):
        self.x, self.spec = x, spec
        self.y = torch.zeros(len(x), 0, dtype=torch.long) if y is None else y

    def __len__(self):
        return len(self.x)

    def __getitem__(self, key):
        return self.x[key.indices], self.y[key.indices]


@pytest.fixture
def folder(tmp_path):
    """Pictures of noise, of several sizes."""
    numbers = np.random.default_rng(0)
    for i, size in enumerate([(4, 4), (9, 7), (5, 12), (6, 6), (4, 8)]):
        Image.fromarray(numbers.integers(0, 256, (*size, 3), dtype=np.uint8)).save(tmp_path / f"{i}.png")
    return tmp_path


@pytest.fixture
def model():
    return tiny.vae(GREY, latent_dim=2)


def same(one, other):
    for name in ("nats", "bits_per_dim", "kl", "h"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-9, err_msg=name)


def test_without_latents_nats_are_exact():
    """exp(−nats) sums to 1 over all x, and there is no KL."""
    plain = AutoregressiveModel(
        tiny.BINARY, likelihood=Categorical, decoder=partial(SMALL_CNN, num_layers=2), context=VectorContext
    )
    x = tiny.every_x(tiny.BINARY)
    table = encode_files(tiny.sharpened(plain), InMemory(x, tiny.BINARY))
    assert np.exp(-table.nats).sum() == pytest.approx(1)
    np.testing.assert_allclose(table.bits_per_dim, table.nats / (4 * np.log(2)))
    assert table.h.shape == (16, 0)
    assert not table.kl.any()


def test_nats_are_bounds_of_the_exact_log_likelihood():
    """−ELBO on average, and the importance-weighted bound for many samples, which is nearly exact."""
    vae, x = tiny.vae(), tiny.every_x(tiny.BINARY)
    exact = -tiny.log_px_by_quadrature(vae, x).numpy()
    split = InMemory(x, tiny.BINARY)
    weighted = encode_files(vae, split, num_samples=2000)
    np.testing.assert_allclose(weighted.nats, exact, atol=0.1)
    elbo = np.mean([encode_files(vae, split, seed=seed).nats for seed in range(200)], axis=0)
    assert (elbo > exact - 0.05).all()
    assert (elbo - exact).mean() > 0.01, "the bound is not tight"


def test_a_row_is_the_bound_of_its_own_noise(model, folder):
    table = encode_files(model, folder, seed=3)
    x, _ = GivenFiles([folder / f"{i}.png" for i in range(5)], GREY)[BatchKey(torch.arange(5), epoch=0)]
    noise = torch.stack([torch.randn(2, generator=torch.Generator().manual_seed(content_key(row, 3))) for row in x])
    bound = model(x, noise=noise)
    np.testing.assert_allclose(table.nats, -bound.elbo)
    np.testing.assert_allclose(table.kl, bound.kl)
    np.testing.assert_allclose(table.h, model.encode(x).mean)
    assert table.path.tolist() == [f"{folder}/{i}.png" for i in range(5)]


@pytest.mark.parametrize("num_samples", [0, 3])
def test_a_row_depends_on_the_content_and_the_seed_alone(model, folder, tmp_path, num_samples):
    """Not on its name, its place, the other files, or the size of batches."""
    encode = partial(encode_files, model, num_samples=num_samples)
    all_files = encode(folder)
    shutil.copy(folder / "3.png", tmp_path / "renamed.png")
    alone = encode(tmp_path / "renamed.png")
    for name in ("nats", "kl", "h"):
        np.testing.assert_allclose(getattr(alone, name)[0], getattr(all_files, name)[3], rtol=1e-9)
    files = [folder / f"{i}.png" for i in range(5)]
    same(encode(files, batch_size=2), encode(files))
    backwards = encode(files[::-1])
    np.testing.assert_allclose(backwards.nats[::-1], encode(files).nats, rtol=1e-9)
    assert (encode(files, seed=1).nats != encode(files).nats).all()


def test_the_global_generator_does_not_matter(model, folder):
    first = encode_files(model, folder, num_samples=2)
    torch.manual_seed(7)
    same(encode_files(model, folder, num_samples=2), first)


def test_binary_pixels_are_drawn_from_the_picture_not_from_its_place(folder):
    vae = tiny.vae(DataSpec((1, 4, 4), levels=2), latent_dim=2)
    both = encode_files(vae, [folder / "1.png", folder / "2.png"])
    np.testing.assert_allclose(encode_files(vae, folder / "2.png").nats, both.nats[1:], rtol=1e-9)


def test_labels_reach_a_conditional_model(folder):
    plain = partial(SMALL_CNN, num_layers=2)
    spec = GREY._replace(num_classes=(3,))
    model = tiny.sharpened(AutoregressiveModel(spec, likelihood=Categorical, decoder=plain, context=VectorContext))
    files = [folder / "0.png"] * 3
    table = encode_files(model, files, labels=torch.tensor([[0], [1], [2]]))
    assert len(set(table.nats.tolist())) == 3
    assert table.label.tolist() == ["0", "1", "2"]
    with pytest.raises(ValueError, match=r"class-conditional: give labels \(N, 1\)"):
        encode_files(model, files)
    with pytest.raises(ValueError, match=r"labels of shape \(2, 1\) for 3 files"):
        encode_files(model, files, labels=torch.zeros(2, 1, dtype=torch.long))


def test_a_short_sound_costs_bits_for_what_is_there(tmp_path):
    root = speech.write_digits(tmp_path)
    config = speech.config(root, class_conditional=False)
    model = speech.model(config, root).eval()
    files = [root / "recordings/0_ann_0.wav", root / "recordings/0_ann_11.wav"]  # 20 and 42 samples, of which 40 count
    table = encode_files(model, files, options={"rate": speech.RATE})
    np.testing.assert_allclose(table.bits_per_dim, table.nats / (np.log(2) * np.array([20, 40])))
    with pytest.raises(ValueError, match="rate is not given"):
        encode_files(model, files)


def test_the_scale_is_that_of_the_aggregate_posterior(model):
    """Law of total variance, against draws of h."""
    x = torch.randint(0, 4, (4000, 1, 4, 4))
    table = encode_files(model, InMemory(x, GREY))
    q = model.encode(x)
    draws = torch.cat([q.rsample(torch.randn(4000, 2)) for _ in range(10)])
    np.testing.assert_allclose(table.scale, draws.std(0), rtol=0.03)


def test_what_cannot_be_encoded_is_refused(model, folder):
    with pytest.raises(ValueError, match="num_samples=-1; wanted 0"):
        encode_files(model, folder, num_samples=-1)
    with pytest.raises(ValueError, match=r"nowhere\.png: no such file"):
        encode_files(model, folder / "nowhere.png")
    with pytest.raises(ValueError, match=r"shape \(1, 2, 2\) and 2 levels; the model wants \(1, 4, 4\) and 4"):
        encode_files(model, InMemory(tiny.every_x(tiny.BINARY), tiny.BINARY))
