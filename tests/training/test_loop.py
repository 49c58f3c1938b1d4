"""Laws of the loop: it learns, it resumes bit for bit, and nothing computed is lost."""

import os
import signal

import pytest
import torch

from pixelvae.checkpoint import CheckpointError, load, load_progress, load_training
from pixelvae.data import Batches
from pixelvae.distributed import World
from pixelvae.evaluation.bounds import evaluate_bound
from pixelvae.evaluation.information import latent_health
from pixelvae.training.loop import Observer
from pixelvae.training.objective import Objective
from pixelvae.training.options import TrainingOptions
from pixelvae.training.trainer import Trainer, TrainingDivergedError
from small_runs import CONFIG, small_data, small_fit, small_model


class Stop(Observer):
    """Send this process a signal after some steps, as Ctrl-C or a cluster would."""

    def __init__(self, after, number=signal.SIGTERM):
        self.after, self.number, self.seen = after, number, []

    def on_step(self, record):
        self.seen.append(record)
        if record.step == self.after:
            os.kill(os.getpid(), self.number)


class Validations(Observer):
    """All validation bounds."""

    def __init__(self):
        self.seen = []

    def on_validation(self, step, model, bounds):
        self.seen.append(bounds)


def state(out):
    return load_training(out / "last", torch.device("cpu"))


def flat(tree, prefix=""):
    """All leaves of nested dictionaries, by path."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else None
    if items is None:
        return {prefix: tree}
    return {path: leaf for key, value in items for path, leaf in flat(value, f"{prefix}/{key}").items()}


@pytest.mark.parametrize(
    ("number", "objective"),
    [(signal.SIGTERM, Objective()), (signal.SIGINT, Objective(consistency=1.0)), (signal.SIGINT, Objective(rate=3.0))],
)
def test_a_run_that_is_stopped_and_resumed_equals_one_that_is_not_bit_for_bit(tmp_path, number, objective):
    small_fit(tmp_path / "whole", steps=10, objective=objective)
    stopped = small_fit(tmp_path / "parts", steps=10, observer=Stop(5, number), objective=objective)
    assert stopped.interrupted
    assert stopped.progress.step == 5
    resumed = small_fit(tmp_path / "parts", steps=10, resume=True, model=small_model(seed=99), objective=objective)
    assert not resumed.interrupted
    whole, parts = flat(state(tmp_path / "whole")), flat(state(tmp_path / "parts"))
    assert whole.keys() == parts.keys()
    for path, leaf in whole.items():
        if isinstance(leaf, torch.Tensor):
            assert torch.equal(leaf, parts[path]), path
        elif "train_seconds" not in path:
            assert leaf == parts[path], path
    best = [load(tmp_path / run / "best").state_dict() for run in ("whole", "parts")]
    assert best[0].keys() == best[1].keys()
    assert [name for name, tensor in best[0].items() if not torch.equal(tensor, best[1][name])] == []


def test_the_same_seed_gives_the_same_weights_and_another_seed_does_not(tmp_path):
    runs = [small_fit(tmp_path / str(i), steps=3, seed=seed) for i, seed in enumerate((0, 0, 1))]
    same, again, other = ([p.clone() for p in run.model.parameters()] for run in runs)
    assert all(torch.equal(a, b) for a, b in zip(same, again, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(same, other, strict=True))


def test_the_elbo_of_held_out_images_rises(tmp_path):
    data, world = small_data(), World(torch.device("cpu"))
    before = evaluate_bound(small_model().eval(), data.test, seed=0, world=world)
    fitted = small_fit(tmp_path, steps=150, batch_size=32, learning_rate=5e-3, ema_decay=0.9, validate_every=150)
    after = evaluate_bound(fitted.model, data.test, seed=0, world=world)
    assert after.elbo > before.elbo + 10  # nats; an untrained model is near −64 ln 2 = −44


@pytest.mark.slow
@pytest.mark.parametrize("num_layers", [1, 5])
def test_a_rate_is_reached_within_five_percent_whatever_the_decoder_and_held(tmp_path, num_layers):
    small_decoder = {"num_layers": num_layers, "channels": 4, "first_kernel_size": 3, "head_channels": 8}
    decoder = {"class_path": "GatedPixelCNN", "init_args": small_decoder}
    seen = Stop(after=None)
    small_fit(
        tmp_path, steps=700, batch_size=32, validate_every=700, checkpoint_every=700, objective=Objective(rate=4.0),
        observer=seen, model=small_model(CONFIG | {"decoder": decoder, "class_conditional": False}),
    )  # fmt: skip
    kl = [float(record.kl_groups.sum()) for record in seen.seen]
    for end in (600, 650, 700):
        assert sum(kl[end - 50 : end]) / 50 == pytest.approx(4.0, rel=0.05), end
    assert len({record.beta for record in seen.seen}) > 650  # the multiplier is in the log


@pytest.mark.slow
@pytest.mark.parametrize("prior", ["StandardNormal", "FlowPrior", "VampPrior"])
def test_a_rate_is_information_even_where_the_decoder_ignores_its_latents(tmp_path, prior):
    """A narrow posterior that does not depend on x would have the KL too, and so would one far from the prior."""
    model = small_model(CONFIG | {"class_conditional": False, "prior": {"class_path": prior}})
    for parameter in model.context.parameters():
        parameter.requires_grad_(False).zero_()
    seen = Stop(after=None)
    fitted = small_fit(
        tmp_path, steps=700, batch_size=32, validate_every=700, checkpoint_every=700, objective=Objective(rate=3.0),
        observer=seen, model=model,
    )  # fmt: skip
    kl = [float(record.kl_groups.sum()) for record in seen.seen]
    assert sum(kl[-100:]) / 100 == pytest.approx(3.0, rel=0.05)
    health = latent_health(fitted.model, small_data().test, seed=0, device=torch.device("cpu"))
    assert health.mutual_information.nats > 0.8 * 3.0


@pytest.mark.slow
def test_the_best_model_is_one_that_holds_the_rate(tmp_path):
    """Much of a KL costs more than it buys: by the bound alone the best model is an early one, at another rate."""
    seen = Validations()
    options = {"batch_size": 32, "validate_every": 10, "checkpoint_every": 500, "learning_rate": 5e-3}
    small_fit(tmp_path, steps=300, objective=Objective(rate=40.0), observer=seen, **options)
    best = evaluate_bound(load(tmp_path / "best"), small_data().validation, seed=0, world=World(torch.device("cpu")))
    assert best.kl == pytest.approx(40.0, rel=0.1)
    assert best.elbo == pytest.approx(max(b.elbo for b in seen.seen if abs(b.kl / 40.0 - 1) <= 0.1), abs=1e-4)
    assert best.elbo < max(b.elbo for b in seen.seen) - 1


def test_there_is_a_best_model_before_the_rate_is_reached(tmp_path):
    small_fit(tmp_path, steps=4, objective=Objective(rate=500.0))
    assert load_progress(tmp_path / "best").step == 4


def test_a_rate_wants_latents(tmp_path):
    model = small_model(CONFIG | {"encoder": None, "prior": None, "latent_dim": 0})
    with pytest.raises(ValueError, match=r"no latents; set objective\.rate: null"):
        small_fit(tmp_path, steps=1, objective=Objective(rate=4.0), model=model)


def test_what_is_reported_is_the_true_bound_whatever_is_maximised(tmp_path):
    """With β = 0 and a huge floor the loss differs from −ELBO, the record does not."""
    seen = Stop(99)
    small_fit(tmp_path, steps=1, objective=Objective(beta=0.0), observer=seen, model=small_model())
    record = seen.seen[0]
    data, model = small_data(), small_model()
    trainer = Trainer(model, TrainingOptions(batch_size=8, compile="never"), Objective(), World(torch.device("cpu")), 0)
    x, y = data.train[next(iter(Batches(len(data.train), 8, seed=0)))]
    bound = model(x, y, noise=trainer.noise(8))
    assert record.log_px == pytest.approx(bound.log_px.mean().item(), abs=1e-4)
    assert float(record.kl_groups.sum()) == pytest.approx(bound.kl.mean().item(), abs=1e-4)
    assert record.loss == pytest.approx(-record.log_px)


def test_checkpoints_load_and_best_is_chosen_on_validation(tmp_path):
    fitted = small_fit(tmp_path, steps=8)
    last = load(tmp_path / "last")
    for a, b in zip(fitted.model.parameters(), last.parameters(), strict=True):
        assert torch.equal(a, b)
    world = World(torch.device("cpu"))
    elbo = evaluate_bound(load(tmp_path / "best"), small_data().validation, seed=0, world=world).elbo
    assert elbo == pytest.approx(state(tmp_path)["best_elbo"], abs=1e-4)


class Healths(Observer):
    def __init__(self):
        self.seen, self.order = {}, []

    def on_health(self, step, health):
        self.seen[step] = health
        self.order.append(("health", step))

    def on_validation(self, step, model, bounds):
        self.order.append(("validation", step))


def with_posterior(factor):
    """A model whose q(h|x) moves with x by so much, and is at a KL of 20 nats or more in any case."""
    model = small_model(CONFIG | {"class_conditional": False})
    with torch.no_grad():
        model.encoder.linear.weight.mul_(factor)
        model.encoder.linear.bias[:3] = 3.65
    if factor == 0:
        model.encoder.linear.weight.requires_grad_(False)
    return model


@pytest.mark.parametrize(
    ("rate", "advice"),
    [
        (None, "Try objective.rate (nats to hold)"),
        (20.0, "objective.rate=20 holds the KL, but"),
        (200.0, "objective.rate=200 has not activated them yet"),
    ],
)
def test_dead_latents_are_told_at_every_validation_however_large_the_kl(tmp_path, capsys, rate, advice):
    seen = Healths()
    model = with_posterior(0)
    objective = Objective(rate=rate)
    small_fit(tmp_path, steps=8, model=model, objective=objective, observer=seen, progress=True, learning_rate=1e-4)
    warnings = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Warning")]
    assert len(warnings) == 2
    assert warnings[1].startswith("Warning: at step 8 the latents are dead: 0 of 3 are active, mutual information ")
    assert "(the estimate is at most 5.3)" in warnings[1]  # log 200
    assert float(warnings[1].split("KL ")[1].split()[0]) > 15
    assert advice in warnings[1]
    assert "num_layers" in warnings[1]
    assert seen.seen[8].mutual_information.nats == pytest.approx(0, abs=1e-6)
    assert seen.order == [("health", 4), ("validation", 4), ("health", 8), ("validation", 8)]


def test_living_latents_and_those_in_warm_up_are_left_in_peace(tmp_path, capsys):
    seen, warming = Healths(), Objective(warmup_steps=8)
    small_fit(tmp_path / "alive", steps=8, model=with_posterior(30), observer=seen, progress=True)
    small_fit(tmp_path / "early", steps=8, model=with_posterior(0), objective=warming, progress=True)
    assert "Warning" not in capsys.readouterr().out
    assert seen.seen[8].num_active == 3
    assert seen.seen[8].mutual_information.nats > 1


def test_a_model_without_latents_has_none_to_lose(tmp_path, capsys):
    seen, model = Healths(), small_model(CONFIG | {"encoder": None, "prior": None, "latent_dim": 0})
    small_fit(tmp_path, steps=4, model=model, observer=seen, progress=True)
    assert "Warning" not in capsys.readouterr().out
    assert seen.order == [("validation", 4)]


def test_health_is_looked_at_on_a_thousand_images_at_most(tmp_path, monkeypatch):
    monkeypatch.setattr("pixelvae.training.loop.HEALTH_IMAGES", 50)
    seen = Healths()
    small_fit(tmp_path, steps=4, observer=seen)
    assert seen.seen[4].mutual_information.num_images == 50


def test_a_loss_that_is_not_finite_stops_the_run_and_says_what_to_try(tmp_path):
    model = small_model()

    class Poison(Observer):
        def on_step(self, record):
            if record.step == 4:
                with torch.no_grad():
                    model.decoder.head.bias.fill_(float("nan"))

    with pytest.raises(TrainingDivergedError, match=r"step 4: .*last.*learning_rate"):
        small_fit(tmp_path, model=model, steps=8, observer=Poison())
    assert all(p.isfinite().all() for p in load(tmp_path / "last").parameters())


@pytest.mark.parametrize("objective", [Objective(free_bits=0.1), Objective(rate=3.0)])
def test_how_often_measurements_are_read_changes_nothing_else(tmp_path, monkeypatch, objective):
    """On an accelerator every tenth step waits for the device; then validations and checkpoints read what is left."""
    every, third = Stop(after=None), Stop(after=None)
    small_fit(tmp_path / "every", steps=10, objective=objective, observer=every)
    reads, read = [], Trainer.read
    monkeypatch.setattr(
        Trainer, "read", lambda self, rows, since: reads.append(len(rows)) or read(self, rows, since=since)
    )
    monkeypatch.setattr("pixelvae.training.loop.read_interval", lambda device: 3)
    small_fit(tmp_path / "third", steps=10, objective=objective, observer=third, validate_every=4, checkpoint_every=5)
    assert reads == [3, 1, 1, 3, 2]  # up to steps 3, 4 (validation), 5 (checkpoint), 8 (validation), 10
    for one, other in zip(every.seen, third.seen, strict=True):
        plain, other_plain = (record._replace(images_per_second=0.0, kl_groups=None) for record in (one, other))
        assert plain == other_plain
        assert torch.equal(one.kl_groups, other.kl_groups)
    a, b = (state(tmp_path / run)["model"] for run in ("every", "third"))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_nothing_to_resume_is_an_error(tmp_path):
    with pytest.raises(CheckpointError, match="nothing to resume"):
        small_fit(tmp_path, steps=1, resume=True)


def test_a_resumed_run_keeps_its_seed(tmp_path):
    small_fit(tmp_path, steps=1)
    with pytest.raises(ValueError, match="seed: 0 -> 1"):
        small_fit(tmp_path, steps=2, seed=1, resume=True)


@pytest.mark.slow
def test_torch_compile_computes_the_same_step(tmp_path):
    eager = small_fit(tmp_path / "eager", steps=2)
    compiled = small_fit(tmp_path / "compiled", steps=2, compile="always")
    for a, b in zip(eager.model.parameters(), compiled.model.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)
