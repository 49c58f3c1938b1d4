"""The notebook runs as it stands; what it trains opens again, with classes of one's own by permission only."""

import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

import own_parts
import pixelvae as pv
from pixelvae.checkpoint import CheckpointError, checkpoint_folder, load_data, load_progress, load_weights
from pixelvae.commands import sample, train
from pixelvae.commands.trust import trusted
from pixelvae.distributed import World
from pixelvae.models.assembly import ConfigurationError, configuration, described, factory
from pixelvae.training import loop

TESTS = Path(__file__).parent
SMALL = {"batch_size": 8, "compile": "never", "precision": "float32", "progress": False, "tensorboard": False}
IMAGES = np.random.default_rng(0).integers(0, 256, (120, 1, 8, 8)).astype(np.uint8)
DATA = pv.TensorData(IMAGES, np.arange(120) % 10, levels=256)
CODES = pv.TensorData(torch.randint(512, (40, 1, 7, 7), generator=torch.Generator().manual_seed(0)), levels=512)
SMALL_DECODER = partial(pv.GatedPixelCNN, num_layers=2, channels=4)


def small(**parts):
    return pv.PixelVAE.default(DATA.spec, latent_dim=3, **{"decoder": SMALL_DECODER} | parts)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return pv.fit(small(), DATA, tmp_path_factory.mktemp("runs") / "mine", steps=4, validate_every=2, **SMALL)


def same_weights(a, b):
    mine, other = a.state_dict(), b.state_dict()
    return mine.keys() == other.keys() and all(torch.equal(mine[name], other[name]) for name in mine)


def test_the_notebook_runs_as_it_stands(tmp_path, monkeypatch, capsys):
    """The text of the issue, with its own defaults but for the number of steps."""
    monkeypatch.chdir(tmp_path)
    images, labels = torch.as_tensor(IMAGES), torch.arange(120) % 10
    data = pv.TensorData(images, labels, levels=256)
    model = pv.PixelVAE.default(data.spec, latent_dim=32)
    run = pv.fit(model, data, "runs/mine", steps=2)
    evaluation = pv.evaluate(run.model, data.test)
    h = run.model.encode(data.test.images(range(8)))
    assert h.mean.shape == h.scale.shape == (8, 32)
    x, y = data.test.images(range(2)), data.test.labels(range(2))
    drawn = run.model.sample(16, y=3, seed=0)
    assert drawn.shape == (16, 1, 8, 8)
    assert run.model.reconstruct(x, y=y, seed=0).shape == (1, 2, 1, 8, 8)
    assert run.model.interpolate(h.mean[:2], h.mean[2:4], steps=3, y=3, seed=0).shape == (3, 2, 1, 8, 8)
    assert torch.equal(run.model.complete(x, x >= 0, y=y, seed=0), x)
    assert run.model.score(x, h=h.mean[:2], y=y).shape == (2,)
    model = pv.load("runs/mine")
    assert torch.equal(model.sample(16, y=3, seed=0), drawn)  # the last step is the best one
    assert evaluation.nats == pytest.approx(pv.evaluate(model, data.test).nats, rel=1e-4)
    assert list(Path("runs/mine").glob("events.out.tfevents.*"))
    assert "checkpoints in runs/mine" in capsys.readouterr().out


def test_a_run_is_its_best_checkpoint(run):
    (run.folder / "config.yaml").write_text("{}")  # as beside the metrics of an evaluated run
    assert checkpoint_folder(run.folder) == run.folder / "best"
    assert same_weights(pv.load(run.folder), pv.load(run.folder / "best"))
    assert load_progress(run.folder).step in (2, 4)
    last = pv.load(run.folder / "last")
    assert same_weights(last, run.model)
    assert repr(last) == repr(run.model) == repr(small())


def test_an_interrupted_run_without_a_best_names_what_it_has(run, tmp_path):
    (tmp_path / "last").symlink_to(run.folder / "last")
    with pytest.raises(CheckpointError, match=r"never validated; open .*/last"):
        pv.load(tmp_path)


def test_a_loaded_model_trains_again(run):
    """After drawing, too: nothing of it is an inference tensor, and train() gives all gradients back."""
    model = pv.load(run.folder)
    assert not model.training
    assert not any(p.requires_grad for p in model.parameters())
    assert not run.model.encode(DATA.test.images([0])).mean.requires_grad
    model.sample(2, y=1, seed=0)
    model.eval().train()
    assert model.training
    model(DATA.test.images(range(4)), DATA.test.labels(range(4))).elbo.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    model.encoder.requires_grad_(False)
    assert not any(p.requires_grad for p in model.train().encoder.parameters())  # what the user froze stays so


def test_the_configuration_is_complete(run):
    """The options of `pixelvae train`, with the parts as they were given and their defaults."""
    config = yaml.safe_load((run.folder / "best/config.yaml").read_text())
    wanted = [
        name
        for name in train.inspect.signature(train.main).parameters
        if name not in ("config", "init_from", "resume", "resume_changed")  # init_from only where given
    ]
    assert sorted(config) == sorted(wanted)
    assert config["data"] == {
        "class_path": "pixelvae.TensorData",
        "init_args": {"levels": 256, "num_classes": [10], "seed": 0},
    }
    assert config["decoder"]["class_path"] == "pixelvae.GatedPixelCNN"
    assert config["decoder"]["init_args"].items() >= {"num_layers": 2, "channels": 4, "kernel_size": 3}.items()
    assert (config["latent_dim"], config["class_conditional"], config["train"]["steps"]) == (3, True, 4)


@pytest.mark.parametrize("given", [{}, {"note": "first", "latent_dim": 3}])
def test_a_partial_configuration_is_completed(tmp_path, given):
    """By both fits: what they save can be loaded."""
    pv.fit(small(), DATA, tmp_path / "a", config=given, steps=1, **SMALL)
    options = pv.TrainingOptions(steps=1, batch_size=8, compile="never")
    world, objective = World(torch.device("cpu")), pv.Objective()
    loop.fit(small(), DATA, options, objective, out=tmp_path / "b", config=given, seed=0, world=world, progress=False)
    for name in ("a", "b"):
        assert repr(pv.load(tmp_path / name)) == repr(small())
        assert yaml.safe_load((tmp_path / name / "best/config.yaml").read_text()).items() >= given.items()


def test_data_in_memory_are_not_in_the_checkpoint(run):
    with pytest.raises(CheckpointError, match="trained on tensors in memory"):
        load_data(run.folder)


def test_a_data_set_of_the_package_is_recorded(tmp_path):
    data = pv.Digits(2, seed=3)
    pv.fit(pv.AutoregressiveModel.default(data.spec, decoder=SMALL_DECODER), data, tmp_path, steps=1, **SMALL)
    again = load_data(tmp_path)
    assert again.init_args == {"levels": 2, "binarisation": None, "seed": 3}
    assert torch.equal(again.test.images(range(9)), data.test.images(range(9)))
    assert torch.equal(again.test.labels(range(9)), data.test.labels(torch.arange(9)))
    with pytest.raises(ValueError, match=r"the split has examples 0 .. 299"):
        data.test.labels([300])


def test_an_evaluation_says_what_it_found(run):
    result = pv.evaluate(run.model, DATA.test, num_samples=3)
    assert result.nats == pytest.approx(result.bounds.log_px - result.kl)
    assert result.bits_per_dim == pytest.approx(-result.nats / (64 * np.log(2)))
    assert result.importance_weighted.log_px > result.nats - 1e-3
    assert repr(result) == (
        f"Evaluation(12 examples: log p(x) >= {result.nats:.2f} ± {result.stderr:.2f} nats, "
        f"{result.bits_per_dim:.3f} bits/dim; log p(x|h) {result.bounds.log_px:.2f}, KL {result.kl:.2f} nats; with 3 "
        f"samples >= {result.importance_weighted.log_px:.2f} ± {result.importance_weighted.stderr:.2f} nats)"
    )
    model = pv.AutoregressiveModel.default(DATA.spec, decoder=SMALL_DECODER)
    assert "log p(x) = -" in repr(pv.evaluate(model, DATA.test))
    assert model.training  # as before


def test_an_interruption_or_a_run_is_shown(run):
    assert repr(run).startswith(f"Run({run.folder}, finished at step 4: 32 images in ")
    assert "interrupted at step 4" in repr(run._replace(interrupted=True))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stepz": 3}, "fit has no option stepz; did you mean steps?"),
        ({"hidden": 3}, "fit has no option hidden; wanted steps, batch_size"),
        ({"accumulate": 0}, "train.accumulate=0; wanted a whole number of at least 1"),
        ({"data": CODES}, "the data are 1x7x7, 512 levels; the model wants 1x8x8, 256 levels, 10 classes"),
        ({"data": IMAGES}, "data is ndarray; wanted a data set"),
        ({"model": small(decoder=lambda *sizes: pv.GatedPixelCNN(*sizes, num_layers=2))}, "decoder=<function"),
        ({"config": {"x": object()}}, "config.x=<object"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_the_first_step(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        pv.fit(**{"model": small(), "data": DATA, "out": tmp_path / "run", "steps": 1} | SMALL | change)
    assert not (tmp_path / "run").exists()


def test_a_folder_that_holds_a_run_is_refused_and_resumed(run, tmp_path):
    with pytest.raises(ValueError, match="already holds a run; add --resume"):
        pv.fit(small(), DATA, run.folder, steps=4, **SMALL)
    pv.fit(small(), DATA, tmp_path, steps=2, validate_every=2, lr_warmup_steps=4, **SMALL)
    whole = pv.fit(small(), DATA, tmp_path / "whole", steps=2, validate_every=2, lr_warmup_steps=4, **SMALL)
    options = {"validate_every": 2, "lr_warmup_steps": 4}
    again = pv.fit(small(seed=5), DATA, tmp_path, steps=2, resume=True, **options, **SMALL)
    assert same_weights(again.model, whole.model)


def test_a_data_set_is_no_split(run):
    with pytest.raises(ValueError, match=r"TensorData has three splits; choose one, such as data.test"):
        pv.evaluate(run.model, DATA)


def test_weights_of_a_run_are_where_another_starts(run, tmp_path):
    """With a tiny learning rate it stays there; weights that do not fit are refused by name."""
    best = pv.load(run.folder)
    tuned = pv.fit(small(seed=1), DATA, tmp_path, init_from=run.folder, steps=1, learning_rate=1e-30, **SMALL)
    assert same_weights(tuned.model, best)
    config = yaml.safe_load((tmp_path / "best/config.yaml").read_text())
    assert config["init_from"] == str(run.folder / "best")
    again = pv.fit(pv.load(run.folder), DATA, tmp_path / "loaded", steps=1, **SMALL)  # a loaded model trains on
    assert not same_weights(again.model, best)
    wide = small(decoder=partial(pv.GatedPixelCNN, num_layers=2, channels=8))
    with pytest.raises(CheckpointError, match=r"do not fit the model: decoder\S+ has shape .*, in the model .* more"):
        pv.fit(wide, DATA, tmp_path / "wide", init_from=run.folder, steps=1, **SMALL)
    deep = small(decoder=partial(pv.GatedPixelCNN, num_layers=3, channels=4))
    with pytest.raises(CheckpointError, match=r"decoder.layers.\S+ is missing and \d+ more"):
        load_weights(deep, run.folder)


OWN = {"decoder": own_parts.LeftOnly, "context": pv.VectorContext}


def test_an_own_decoder_through_fit_load_and_sample(tmp_path, capsys):
    model = small(**OWN)
    run = pv.fit(model, DATA, tmp_path, steps=1, **SMALL | {"progress": True})
    advice = "own_parts.LeftOnly is not a class of pixelvae: open the checkpoints with pixelvae.load(FOLDER, classes=["
    assert advice + "LeftOnly]), or with --trust own_parts in a command" in capsys.readouterr().out
    for folder in (tmp_path, tmp_path / "last"):
        with pytest.raises(CheckpointError, match=r"none of pixelvae's own.*pixelvae.load\(FOLDER, classes=\[LeftOnly"):
            pv.load(folder)
    opened = pv.load(tmp_path / "last", classes=[own_parts.LeftOnly])
    assert torch.equal(opened.sample(3, y=1, seed=0), run.model.sample(3, y=1, seed=0))


def test_a_class_that_moved_is_found_by_its_name():
    """From a notebook to a module; one of the same module is preferred, one of another kind refused."""
    entry = {"class_path": "__main__.LeftOnly", "init_args": {"channels": 8}}
    moved = type("LeftOnly", (own_parts.LeftOnly,), {"__module__": "__main__"})
    assert factory(entry, (), "decoder", [own_parts.LeftOnly]).func is own_parts.LeftOnly
    assert factory(entry, (), "decoder", [own_parts.LeftOnly, moved]).func is moved
    with pytest.raises(ConfigurationError, match=r"decoder: own_parts\.WideNormal is not a Decoder"):
        factory({"class_path": "own_parts.WideNormal"}, (), "decoder", [own_parts.WideNormal])
    impostor = type("FlowPrior", (own_parts.WideNormal,), {})
    assert factory({"class_path": "pixelvae.FlowPrior"}, (pv.FlowPrior,), "prior", [impostor]).func is pv.FlowPrior


def test_every_option_takes_a_class_of_ones_own(tmp_path):
    data = own_parts.ReversedDigits(levels=2)
    parts = own_parts.PARTS
    model = pv.PixelVAE.default(data.spec, latent_dim=2, class_conditional=False, **parts)
    run = pv.fit(model, data, tmp_path, steps=1, **SMALL)
    opened = pv.load(tmp_path, classes=list(parts.values()))
    assert torch.equal(opened.sample(2, seed=0), run.model.sample(2, seed=0))
    again = load_data(tmp_path, classes=[own_parts.ReversedDigits])
    assert torch.equal(again.test.images([0]), pv.Digits(2).test.images([299]))
    with pytest.raises(CheckpointError, match="ReversedDigits' is none of pixelvae's own"):
        load_data(tmp_path)


def test_an_own_decoder_trains_from_yaml_and_opens_with_trust(tmp_path, monkeypatch, capsys):
    """A module of the current folder, which nothing imports unless it is named."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    Path("mine.py").write_text((TESTS / "own_parts.py").read_text())
    config = configuration(small(**OWN), {"data": described(partial(pv.Digits, levels=2), "data")})
    config["decoder"] = {"class_path": "mine.LeftOnly", "init_args": {"channels": 4}}
    config |= {"train": {"steps": 1, "batch_size": 8, "compile": "never"}, "objective": {}, "out": "run"}
    Path("mine.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(ValueError, match=r"decoder=mine\.LeftOnly is no class of pixelvae's .*--trust MODULE"):
        train.run(["--config", "mine.yaml"])
    assert "mine" not in sys.modules
    train.run(["--config", "mine.yaml", "--trust", "mine"])
    assert "open the checkpoints with pixelvae.load(FOLDER, classes=[LeftOnly])" in capsys.readouterr().out
    del sys.modules["mine"]
    with pytest.raises(CheckpointError, match="or --trust MODULE"):
        sample.main(Path("run/best"), num_samples=1)
    assert "mine" not in sys.modules
    sample.main(Path("run/best"), num_samples=1, trust="mine")
    assert load_file("run/pictures/samples.safetensors")["x"].shape == (10, 1, 8, 8)


def test_trusted_modules_are_named_right(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    Path("empty_module.py").write_text("import pixelvae\n")
    assert trusted(None) == []
    assert set(own_parts.PARTS.values()) <= set(trusted("own_parts"))
    with pytest.raises(ValueError, match=r"--trust no_such_module: there is no such module"):
        trusted("own_parts,no_such_module")
    with pytest.raises(ValueError, match=r"--trust empty_module: it holds no data set"):
        trusted("empty_module")
    assert sys.path == before


def test_more_than_256_levels(tmp_path):
    """512 codes on 7x7 train, draw alike by every stepper, and are saved without wrapping round."""
    model = pv.AutoregressiveModel.default(CODES.spec, decoder=SMALL_DECODER)
    run = pv.fit(model, CODES, tmp_path, steps=1, **SMALL)
    x = run.model.sample(3, seed=0)
    assert torch.equal(x, run.model.sample(3, seed=0, stepper="full"))
    assert x.max() > 255
    torch.testing.assert_close(run.model.score(x), run.model.log_px(x, None), rtol=1e-5, atol=1e-3)
    sample.main(tmp_path / "best", num_samples=3)
    assert torch.equal(load_file(tmp_path / "pictures/samples.safetensors")["x"].long(), x)


def test_sounds(tmp_path):
    sounds = pv.TensorData(pv.mu_law_encode(torch.linspace(-1, 1, 20 * 64).view(20, 1, 64), levels=16), levels=16)
    run = pv.fit(pv.PixelVAE.default(sounds.spec, latent_dim=2), sounds, tmp_path, steps=1, **SMALL)
    assert pv.load(tmp_path).sample(2, seed=0).shape == (2, 1, 64)
    assert run.progress.step == 1


NOTEBOOK = """
import sys, types, warnings
warnings.simplefilter("always")  # tqdm swallows a warning that is raised, and prints one that is not
shell = types.SimpleNamespace(config={"IPKernelApp": {}})
sys.modules["ipykernel.zmqshell"] = types.ModuleType("ipykernel.zmqshell")  # by which tqdm recognises a notebook
sys.modules["IPython"] = types.ModuleType("IPython")
sys.modules["IPython"].get_ipython = lambda: shell
sys.modules["IPython.display"] = types.ModuleType("IPython.display")
sys.modules["IPython.display"].HTML = sys.modules["IPython.display"].display = print
sys.modules["ipywidgets"] = None
from pixelvae.progress import tqdm
assert list(tqdm(range(3))) == [0, 1, 2]
"""


@pytest.mark.slow
def test_a_notebook_without_widgets_has_bars_and_no_warning():
    done = subprocess.run(
        [sys.executable, "-c", NOTEBOOK], cwd=TESTS.parent, check=True, capture_output=True, text=True
    )
    assert "3/3" in done.stderr
    assert "Warning" not in done.stderr
