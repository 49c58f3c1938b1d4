"""The card of published weights states their numbers, their data and the licences; never where files lie."""

import pytest

from pixelvae.data import DATA_SETS
from pixelvae.reporting.model_card import LICENCES, model_card, write_model_card

METRICS = {
    "elbo_nats": -80.25, "elbo_stderr_nats": 0.5, "nll_iwae_nats": 78.5, "nll_iwae_stderr_nats": 0.25, "kl_nats": 12.0,
    "bits_per_dim": 0.1476, "bits_per_dim_stderr": 0.0009, "active_units": 17, "knn_accuracy": 0.9512,
    "num_importance_samples": 1000, "num_iwae_images": 2000, "num_test_images": 10000, "num_parameters": 1234567,
    "split": "test", "train_steps": 5000, "images_seen": 320000, "train_seconds": 600.0, "command": "pixelvae x",
}  # fmt: skip
CONFIG = {
    "data": {"class_path": "pixelvae.MNIST", "init_args": {"root": "/secret/place", "download": True, "levels": 2}},
    "decoder": {"class_path": "pixelvae.GatedPixelCNN"},
    "encoder": None,
    "seed": 3,
}


def test_every_number_stands_with_its_sign_its_digits_and_its_error():
    rows = [line for line in model_card("mnist/some", METRICS, CONFIG).splitlines() if line.startswith("| ")]
    assert rows[1:] == [
        "| −ELBO, nats | 80.25 ± 0.50 |",
        "| importance-weighted −log p(x), nats | 78.50 ± 0.25 |",
        "| KL, nats | 12.00 |",
        "| bits/dim | 0.148 ± 0.0009 |",
        "| active units | 17 |",
        "| nearest neighbours of h | 95.12% |",
    ]


def test_the_card_says_what_was_trained_on_what_and_for_how_long():
    card = model_card("mnist/some", METRICS, CONFIG)
    for line in (
        "# mnist/some",
        "- Model: decoder: `GatedPixelCNN`; 1,234,567 parameters.",
        "- Data: `MNIST(levels=2)`.",
        "- Licence of the data: CC BY-SA 3.0.",
        "- Training: 5,000 steps, 320,000 examples, 10 minutes, seed 3.",
        'model = pv.load("mnist/some")',
    ):
        assert line in card.splitlines()
    assert "1,000 samples for each of 2,000 images" in " ".join(card.split())
    assert "secret" not in card


def test_every_published_data_set_has_its_licence():
    own = {"ImageFolder", "AudioFolder"}  # folders of users, who know their licences
    assert {cls.__name__ for cls in DATA_SETS} - own == set(LICENCES)


def test_what_lacks_an_entry_is_one_line(tmp_path):
    (tmp_path / "metrics.json").write_text("{}")
    (tmp_path / "config.yaml").write_text("data: {class_path: MNIST}")
    with pytest.raises(ValueError, match=r"metrics\.json or config\.yaml lacks 'train_seconds'; run pixelvae evaluate"):
        write_model_card(tmp_path, "mnist/some")
