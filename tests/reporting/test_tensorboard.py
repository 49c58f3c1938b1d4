"""What TensorBoard will find: event files are read back."""

import math

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import speech
from pixelvae.data import ABSENT, BatchKey
from pixelvae.data.images import ImageSplit
from pixelvae.data.transforms import Quantiser
from pixelvae.distributed import World
from pixelvae.evaluation.bounds import bits_per_dim, evaluate_bound
from pixelvae.evaluation.information import latent_health
from pixelvae.reporting.tensorboard import TensorBoardObserver
from pixelvae.training.trainer import StepRecord
from small_runs import CONFIG, small_data, small_fit, small_model

HEALTH = ("mutual_information_nats", "mutual_information_cap_nats", "active_units")
CURVES = ("elbo_nats", "log_px_nats", "kl_nats")
WITHOUT_LATENTS = CONFIG | {"encoder": None, "prior": None, "latent_dim": 0}
UNCONDITIONAL = CONFIG | {"class_conditional": False}


def read(folder):
    """Everything that the event files in a folder hold."""
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0, "histograms": 0, "tensors": 0})
    return events.Reload()


def steps(events, tag):
    return [event.step for event in events.Scalars(tag)]


def observed(folder, config=CONFIG, **options):
    """The events of one validation of an untrained model."""
    observer = TensorBoardObserver(folder, small_data(), config, **options)
    model = small_model(config).eval()
    bounds = evaluate_bound(model, small_data().validation, seed=0, world=World(torch.device("cpu")))
    observer.on_validation(1, model, bounds)
    observer.close()
    return read(folder), bounds


def test_a_run_shows_its_curves_pictures_and_configuration(tmp_path):
    observer = TensorBoardObserver(tmp_path, small_data(), CONFIG, scalars_every=2)
    small_fit(tmp_path, steps=5, observer=observer)
    observer.finish({"elbo_nats": -20.5, "active_units": 2, "command": "python scripts/train.py"})
    events = read(tmp_path)
    for name in (*CURVES, "beta", "learning_rate", "grad_norm", "images_per_second"):
        assert steps(events, f"train/{name}") == [2, 4]
    for name in (*CURVES, "bits_per_dim", "latents_above_hundredth_nat"):
        assert steps(events, f"validation/{name}") == [4, 5]
    for name in HEALTH:
        assert steps(events, f"validation/{name}") == [4, 5]
    for name in ("kl_per_latent_nats", "information_per_latent_nats"):
        assert [event.step for event in events.Histograms(f"validation/{name}")] == [4, 5]
    for name in ("samples", "reconstructions", "interpolations"):
        assert [event.step for event in events.Images(f"validation/{name}")] == [4, 5]
    text = events.Tensors("config/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "    latent_dim: 3\n" in text
    assert {tag.split("/")[0] for tag in events.Tags()["scalars"]} == {"train", "validation"}, "no single points"


def test_training_curves_are_the_measurements_of_a_step(tmp_path):
    """All different, so that no curve can hold the numbers of another; the training bound is log p(x|h) - KL."""
    observer = TensorBoardObserver(tmp_path, small_data(), CONFIG, scalars_every=1)
    record = StepRecord(
        3, loss=41.0, log_px=-30.0, kl_groups=torch.tensor([1.5, 2.5, 3.0]), beta=0.25, learning_rate=0.125,
        grad_norm=6.0, images_per_second=512.0,
    )  # fmt: skip
    observer.on_step(record)
    observer.close()
    expected = {name: getattr(record, name) for name in ("beta", "learning_rate", "grad_norm")}
    expected |= {"elbo_nats": -37.0, "log_px_nats": -30.0, "kl_nats": 7.0, "images_per_second": 512.0}
    events = read(tmp_path)
    assert {name: [(e.step, e.value) for e in events.Scalars(f"train/{name}")] for name in expected} == {
        name: [(3, value)] for name, value in expected.items()
    }


def test_pictures_show_the_names_of_classes(tmp_path, monkeypatch):
    names = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    data = small_data()
    monkeypatch.setattr(type(data.train), "class_names", property(lambda _: (tuple(names),)))
    observer = TensorBoardObserver(tmp_path, data, CONFIG)
    figures = observer.pictures(small_model().eval())
    observer.close()
    assert [tick.get_text() for tick in figures["samples"].axes[0].get_xticklabels()] == names
    shown = [tick.get_text() for tick in figures["reconstructions"].axes[0].get_yticklabels()]
    assert shown == [names[label] for label in observer.y[:, 0].tolist()]


def test_validation_shows_the_true_bound(tmp_path):
    events, bounds = observed(tmp_path, pictures_every=0)
    for name, value in zip(CURVES, (bounds.elbo, bounds.log_px, bounds.kl), strict=True):
        assert events.Scalars(f"validation/{name}")[0].value == pytest.approx(value)
    histogram = events.Histograms("validation/kl_per_latent_nats")[0].histogram_value
    assert histogram.num == 3
    assert histogram.sum == pytest.approx(bounds.kl)
    used = int((bounds.kl_groups > 0.01).sum())
    assert events.Scalars("validation/latents_above_hundredth_nat")[0].value == used


def test_health_is_shown_with_the_cap_beside_it(tmp_path):
    observer = TensorBoardObserver(tmp_path, small_data(), CONFIG)
    model, cpu = small_model().eval(), torch.device("cpu")
    health = latent_health(model, small_data().validation, seed=0, device=cpu)
    observer.on_health(7, health)
    observer.close()
    events = read(tmp_path)
    shown = {name: events.Scalars(f"validation/{name}")[0] for name in HEALTH}
    assert [event.step for event in shown.values()] == [7, 7, 7]
    expected = (health.mutual_information.nats, math.log(200), health.num_active)
    assert [event.value for event in shown.values()] == pytest.approx(expected)
    histogram = events.Histograms("validation/information_per_latent_nats")[0].histogram_value
    assert histogram.sum == pytest.approx(float(health.information.sum()))


def test_a_prior_whose_kl_is_one_number_shows_no_kl_of_each_latent(tmp_path):
    flow = {"class_path": "FlowPrior", "init_args": {"num_transforms": 1, "hidden_channels": [8]}}
    events, bounds = observed(tmp_path, CONFIG | {"prior": flow}, pictures_every=0)
    assert len(bounds.kl_groups) == 1
    assert events.Tags()["histograms"] == []
    assert "validation/latents_above_hundredth_nat" not in events.Tags()["scalars"]


def test_a_model_without_latents_shows_samples_only(tmp_path):
    events, _ = observed(tmp_path, WITHOUT_LATENTS)
    assert events.Tags()["images"] == ["validation/samples"]
    assert events.Tags()["histograms"] == []


def test_a_model_that_sees_no_labels_shows_all_pictures(tmp_path):
    events, _ = observed(tmp_path, UNCONDITIONAL)
    assert sorted(events.Tags()["images"]) == [
        f"validation/{name}" for name in ("interpolations", "reconstructions", "samples")
    ]


@pytest.mark.parametrize("available", [1, 2, 3, 5])
def test_a_few_validation_images_are_enough(tmp_path, available):
    data = small_data()
    monochrome = data.validation[BatchKey(torch.arange(available), 0)]
    data.validation = ImageSplit("validation", monochrome[0] * 255, monochrome[1], data.spec, Quantiser(levels=2))
    observer = TensorBoardObserver(tmp_path, data, CONFIG)
    assert len(observer.x) == available
    figures = observer.pictures(small_model().eval())
    observer.close()
    assert set(figures) == {"samples", "reconstructions", "interpolations"}


def test_reconstructed_images_are_of_different_classes(tmp_path):
    observer = TensorBoardObserver(tmp_path, small_data(), CONFIG, num_images=10)
    observer.close()
    assert sorted(observer.y.flatten().tolist()) == list(range(10))


def test_pictures_change_with_the_model_only(tmp_path):
    """Same weights, same pictures: neither the time nor the global generator matters."""
    observer = TensorBoardObserver(tmp_path, small_data(), CONFIG)
    model = small_model().eval()
    bounds = evaluate_bound(model, small_data().validation, seed=0, world=World(torch.device("cpu")), max_images=1)
    for step, seed in enumerate((1, 2)):
        torch.manual_seed(seed)
        observer.on_validation(step, model, bounds)
    observer.on_validation(2, small_model(seed=1).eval(), bounds)
    observer.close()
    for name in ("samples", "reconstructions", "interpolations"):
        first, second, other = (image.encoded_image_string for image in read(tmp_path).Images(f"validation/{name}"))
        assert first == second != other


@pytest.mark.parametrize(("every", "drawn"), [(0, []), (1, [0, 1, 2, 3]), (3, [0, 3])])
def test_pictures_are_drawn_as_often_as_asked(tmp_path, monkeypatch, every, drawn):
    observer = TensorBoardObserver(tmp_path, small_data(), CONFIG, pictures_every=every)
    model = small_model().eval()
    bounds = evaluate_bound(model, small_data().validation, seed=0, world=World(torch.device("cpu")), max_images=1)
    asked = []
    monkeypatch.setattr(observer, "pictures", lambda _: asked.append(observer.step) or {})
    for step in range(4):
        observer.on_validation(step, model, bounds)
    observer.close()
    assert asked == drawn


def test_a_resumed_run_takes_back_what_its_checkpoint_does_not_know(tmp_path):
    """Killed at step 5, last saved at 3: after resuming, every step is there once."""
    first = TensorBoardObserver(tmp_path, small_data(), CONFIG, scalars_every=1, pictures_every=0)
    killed = RuntimeError("killed")

    def die(record):
        TensorBoardObserver.on_step(first, record)
        if record.step == 5:
            raise killed

    first.on_step = die
    with pytest.raises(RuntimeError, match="killed"):
        small_fit(tmp_path, steps=6, observer=first)
    first.close()
    assert steps(read(tmp_path), "train/elbo_nats") == [1, 2, 3, 4, 5]
    second = TensorBoardObserver(tmp_path, small_data(), CONFIG, scalars_every=1, pictures_every=0)
    small_fit(tmp_path, steps=6, observer=second, resume=True)
    second.close()
    events = read(tmp_path)
    assert steps(events, "train/elbo_nats") == [1, 2, 3, 4, 5, 6]
    assert steps(events, "validation/elbo_nats") == [4, 6]


@pytest.mark.parametrize(
    "options", [{"scalars_every": 0}, {"pictures_every": -1}, {"num_images": 0}, {"num_draws": 0}, {"num_steps": 1}]
)
def test_options_out_of_range_are_named(tmp_path, options):
    with pytest.raises(ValueError, match=next(iter(options))):
        TensorBoardObserver(tmp_path, small_data(), CONFIG, **options)


@pytest.mark.parametrize("latents", [True, False])
def test_sounds_can_be_heard_and_seen(tmp_path, latents):
    """Samples, and of a PixelVAE validation sounds with their reconstructions, as long as they are."""
    root = speech.write_digits(tmp_path / "digits")
    config = speech.config(root, latents=latents)
    data, model = speech.data(root), speech.model(config, root).eval()
    observer = TensorBoardObserver(tmp_path, data, config, num_draws=2)
    bounds = evaluate_bound(model, data.validation, seed=0, world=World(torch.device("cpu")))
    observer.on_validation(1, model, bounds)
    observer.close()
    events = read(tmp_path)
    names = ["samples", "reconstructions"] if latents else ["samples"]
    assert events.Tags()["images"] == [f"validation/{name}" for name in names]
    tags = {f"samples/{i}/0" for i in range(4)}
    tags |= {f"reconstructions/{i}/{j}" for i in range(4) for j in range(3)} if latents else set()
    assert set(events.Tags()["audio"]) == tags
    sizes = (data.validation[BatchKey(torch.arange(4), 0)][0] != ABSENT).sum((1, 2)).tolist()
    for tag in tags:
        (event,) = events.Audio(tag)
        name, number, _ = tag.split("/")
        assert event.sample_rate == speech.RATE
        assert event.length_frames == (speech.LENGTH if name == "samples" else sizes[int(number)])
    (curve,) = events.Scalars("validation/bits_per_dim")
    assert curve.value == pytest.approx(bits_per_dim(bounds.elbo, bounds.num_dims), rel=1e-5)
