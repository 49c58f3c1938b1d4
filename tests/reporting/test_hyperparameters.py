"""TensorBoard's table of hyperparameters: a row from the first step on, test numbers as columns, no single points."""

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from hparams import row
from pixelvae.reporting.hyperparameters import TABLE_METRICS, write_hyperparameters, write_metrics
from pixelvae.reporting.tensorboard import TensorBoardObserver
from small_runs import CONFIG, small_data


@pytest.mark.parametrize("resume", [False, True])
def test_the_row_is_there_before_the_first_step(tmp_path, resume):
    for _ in range(1 + resume):  # a resumed run writes its row again
        observer = TensorBoardObserver(tmp_path, small_data(), CONFIG)
        observer.on_start(3 * resume)
        observer.close()
    columns, curves = row(tmp_path)
    assert columns["decoder"] == "GatedPixelCNN"
    assert columns["decoder.num_layers"] == 2
    assert columns["class_conditional"] == "True"
    assert curves == TABLE_METRICS
    assert len(list(tmp_path.glob("*.hparams"))) == 1


def test_final_metrics_replace_the_row_and_are_no_scalars(tmp_path):
    write_hyperparameters(tmp_path, CONFIG, step=0)
    metrics = {"elbo_nats": -20.5, "active_units": 2, "command": "pixelvae evaluate", "split": "validation"}
    write_metrics(tmp_path, CONFIG, {"elbo_nats": -30.0}, step=4)
    write_metrics(tmp_path, CONFIG, metrics, step=5)
    columns, _ = row(tmp_path)
    assert (columns["validation/elbo_nats"], columns["validation/active_units"]) == (-20.5, 2)
    assert "validation/command" not in columns
    assert columns["latent_dim"] == 3
    events = EventAccumulator(str(tmp_path)).Reload()
    assert events.Tags()["scalars"] == []
    (text,) = events.Tensors("metrics/validation/text_summary")
    shown = text.tensor_proto.string_val[0].decode()
    assert "| elbo_nats | -20.5 |" in shown
    assert "| command | pixelvae evaluate |" in shown
    assert text.step == 5
