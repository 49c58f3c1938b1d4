"""Whether draws keep the class of their originals, where the answer is known."""

import pytest
import torch

from pixelvae import Digits
from pixelvae.data import BatchKey, DataSpec, spread
from pixelvae.evaluation import agreement
from pixelvae.evaluation.agreement import Classifier, accuracy, reconstruction_agreement, train_classifier
from pixelvae.models.assembly import build
from small_runs import CONFIG, small_data, small_model

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data():
    return Digits()  # 17 levels


@pytest.fixture(scope="module")
def classifier(data):
    return train_classifier(data.train, seed=0, device=CPU, steps=200)


def drawing(monkeypatch, draw):
    """Reconstructions of a model that is a function of the original."""
    monkeypatch.setattr(agreement, "reconstruct", lambda model, x, *, y, seed: draw(x)[None])


def test_real_digits_are_told_apart(data, classifier):
    assert accuracy(classifier, data.test, device=CPU) > 0.93
    x, y = data.test[BatchKey(torch.arange(300), 0)]
    right = (classifier(x).argmax(1) == y[:, 0]).float().mean()
    assert accuracy(classifier, data.test, device=CPU) == pytest.approx(float(right))


def test_it_depends_on_the_seed_alone_and_leaves_the_global_generator_as_it_was(data):
    torch.manual_seed(3)
    first = train_classifier(data.train, seed=0, device=CPU, steps=2)
    drawn = torch.rand(1)
    torch.manual_seed(3)
    assert torch.equal(torch.rand(1), drawn)
    torch.manual_seed(4)
    second = train_classifier(data.train, seed=0, device=CPU, steps=2)
    other = train_classifier(data.train, seed=1, device=CPU, steps=2)
    weights = [classifier.layers[0].weight for classifier in (first, second, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_a_perfect_copy_agrees_as_often_as_the_original(data, classifier, monkeypatch):
    drawing(monkeypatch, lambda x: x)
    found = reconstruction_agreement(build(CONFIG, data.spec), classifier, data.test, seed=0, device=CPU)
    assert found.reconstructions == found.originals == pytest.approx(accuracy(classifier, data.test, device=CPU))
    assert found.num_images == 300


def test_draws_of_another_image_agree_by_chance_and_those_of_the_class_agree(data, classifier, monkeypatch):
    drawing(monkeypatch, lambda x: x.roll(1, 0))
    monkeypatch.setattr(agreement, "default_batch_size", lambda _: 37)
    found = reconstruction_agreement(
        build(CONFIG, data.spec), classifier, data.test, seed=0, device=CPU, max_images=200
    )
    assert found.reconstructions < 0.2
    assert found.originals > 0.9
    assert found.num_images == 200


def test_a_draw_depends_on_its_image_and_not_on_the_batch(monkeypatch):
    model, split = small_model().eval(), small_data().test
    classifier = Classifier(split.spec).eval()
    model.encoder.linear.weight.data.mul_(30)
    real, seen = agreement.reconstruct, {10: [], 3: []}
    for size, drawn in seen.items():
        monkeypatch.setattr(agreement, "default_batch_size", lambda _, size=size: size)
        monkeypatch.setattr(
            agreement, "reconstruct", lambda *a, drawn=drawn, **k: drawn.append(real(*a, **k)) or drawn[-1]
        )
        reconstruction_agreement(model, classifier, split, seed=5, device=CPU, max_images=10)
    assert [len(drawn) for drawn in seen.values()] == [1, 4]
    assert torch.equal(torch.cat(seen[10], 1), torch.cat(seen[3], 1))


def test_some_images_are_spread_over_the_split(monkeypatch):
    model, split, seen = small_model().eval(), small_data().test, []
    monkeypatch.setattr(agreement, "reconstruct", lambda _, x, **__: seen.append(x) or x[None])
    reconstruction_agreement(model, Classifier(split.spec).eval(), split, seed=0, device=CPU, max_images=10)
    assert torch.equal(torch.cat(seen), split.images(spread(len(split), 10)))


@pytest.mark.parametrize("spec", [DataSpec((1, 40), 16, (10,)), DataSpec((1, 8, 8), 2)])
def test_what_is_no_image_with_a_label_is_refused(spec):
    with pytest.raises(ValueError, match="wanted images with labels"):
        Classifier(spec)
