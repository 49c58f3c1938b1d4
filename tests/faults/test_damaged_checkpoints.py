"""A checkpoint that is damaged, not finite or absurd is refused in one line, at once; what cannot be written too."""

import json
import os
import random
import resource
import signal

import pytest
import torch
import yaml
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from pixelvae.checkpoint import CheckpointError, Progress, load, load_data, load_training, save_model
from pixelvae.storage import MAX_YAML_BYTES, StorageError, read_yaml, write_json
from small_runs import CONFIG, small_model

CPU = torch.device("cpu")


@pytest.fixture
def folder(tmp_path):
    save_model(tmp_path / "last", small_model(), CONFIG, Progress(step=3), {"weights": torch.arange(100.0), "step": 3})
    return tmp_path / "last"


def refused(folder, open_it=load):
    """The one line with which a checkpoint is refused."""
    with pytest.raises(CheckpointError) as caught:
        open_it(folder)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 400
    assert str(folder) in message
    return message


def flip(path, position, bit):
    content = bytearray(path.read_bytes())
    content[position] ^= 1 << bit
    path.write_bytes(content)


def test_every_flipped_bit_of_the_weights_and_of_the_training_state_is_found(folder):
    draws = random.Random(0)
    for name, open_it in (("model.safetensors", load), ("training.pt", lambda f: load_training(f, CPU))):
        path = folder / name
        whole = path.read_bytes()
        for _ in range(60):
            flip(path, draws.randrange(len(whole)), draws.randrange(8))
            refused(folder, open_it)
            path.write_bytes(whole)
        for length in (0, 7, 100, len(whole) // 2, len(whole) - 1):
            path.write_bytes(whole[:length])
            refused(folder, open_it)
            path.write_bytes(whole)
        open_it(folder)


def test_weights_that_were_exchanged_are_damaged_and_say_so(folder):
    path = folder / "model.safetensors"
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    name = next(name for name, tensor in tensors.items() if tensor.is_floating_point())
    tensors[name] += 1
    save_file(tensors, path, metadata)
    assert "damaged" in refused(folder)


def test_weights_that_are_not_finite_are_refused_even_with_the_right_hash(tmp_path):
    model = small_model()
    with torch.no_grad():
        next(model.parameters()).view(-1)[0] = float("nan")
    save_model(tmp_path / "best", model, CONFIG, Progress())
    assert "not finite" in refused(tmp_path / "best")


def test_a_checkpoint_of_version_0_1_without_hashes_loads(folder):
    path = folder / "model.safetensors"
    with safe_open(path, "pt") as file:
        metadata = {name: value for name, value in file.metadata().items() if "sha256" not in name}
    save_file(load_file(path), path, metadata)
    load(folder)
    assert load_training(folder, CPU)["step"] == 3


LAUGHS = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 30))


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [*a]",
        "a: &a {b: *a}\n<<: *a",
        LAUGHS,
        "[" * 2_000,
        "{a: " * 3000,
        "data: !!python/object/apply:os.system [true]",
        "x: " + "9" * 90_000,
        "x" * 200_000,
        "\x00\x01",
        "- 1\n- 2",
        "",
        "1: 2",
        "a: [1",
        "a: 2001-99-99",
    ],
)
def test_yaml_that_is_no_configuration_is_refused(folder, text):
    (folder / "config.yaml").write_text(text)
    refused(folder)
    refused(folder, load_data)


@pytest.mark.parametrize("text", ["a: &a [*a]", "a: &a {b: *a}", LAUGHS])
def test_a_configuration_that_refers_to_itself_is_refused_for_it(folder, text):
    (folder / "config.yaml").write_text(text)
    assert "alias" in refused(folder)


def test_a_configuration_has_at_most_its_limit_of_bytes(folder):
    """Valid YAML, so that only its size can be wrong."""
    path = folder / "config.yaml"
    content = path.read_bytes() + b"#"
    path.write_bytes(content.ljust(MAX_YAML_BYTES, b" "))
    assert read_yaml(path) == CONFIG
    load(folder)
    path.write_bytes(content.ljust(MAX_YAML_BYTES + 1, b" "))
    assert "100,001 bytes; a configuration has at most 100,000" in refused(folder)


def test_a_configuration_that_is_not_text_is_refused(folder):
    (folder / "config.yaml").write_bytes(b"a: \xff\xfe")
    refused(folder)


@pytest.mark.parametrize(
    ("part", "option", "value"),
    [
        ("decoder", "channels", 1_000_000_000),
        ("decoder", "channels", 600_000),
        ("decoder", "num_layers", 1_000_000_000),
        ("decoder", "num_layers", 9_000),
        ("decoder", "first_kernel_size", 100_001),
        ("decoder", "head_channels", -1),
        ("encoder", "channels", [100_000, 100_000]),
        ("encoder", "channels", [1] * 100),
        ("encoder", "channels", [4, 8_000]),  # 4 GB
        ("context", "channels", [8, 300_000]),
        ("latent_dim", None, 1_000_000),
        ("latent_dim", None, -3),
        ("latent_dim", None, "many"),
        ("latent_dim", None, None),
        ("decoder", "channels", None),
        ("decoder", None, 5),
        ("decoder", None, None),
        ("decoder", None, []),
        ("encoder", None, {"class_path": 3}),
        ("likelihood", None, {"class_path": "DiscretizedLogisticMixture", "init_args": {"num_components": 10**6}}),
        ("class_conditional", None, "no"),
    ],
)
def test_a_configuration_of_another_model_is_refused_before_its_memory_is_taken(folder, part, option, value):
    config = yaml.safe_load((folder / "config.yaml").read_text())
    if option is None:
        config[part] = value
    else:
        config[part].setdefault("init_args", {})[option] = value
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused(folder)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # kB


@pytest.mark.parametrize("name", ["data", "decoder", "latent_dim", "class_conditional"])
def test_a_configuration_without_an_entry_is_refused(folder, name):
    config = {key: value for key, value in CONFIG.items() if key != name}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    refused(folder, load_data if name == "data" else load)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("spec", "{"),
        ("spec", "[]"),
        ("spec", '{"shape": 3}'),
        ("progress", "[1]"),
        ("version", "x"),
        ("version", "9" * 99),
    ],
)
def test_metadata_that_are_broken_are_refused(folder, name, value):
    from pixelvae.checkpoint import load_progress

    path = folder / "model.safetensors"
    save_file(
        load_file(path), path, {"format": "pixelvae", "version": "1", "spec": "{}", "progress": "{}"} | {name: value}
    )
    refused(folder, load_progress if name == "progress" else load)


def test_numbers_that_are_not_finite_are_never_json(tmp_path):
    with pytest.raises(ValueError, match=r"metrics.json is not written: a.b\[1\]=nan would not be finite"):
        write_json(tmp_path / "metrics.json", {"a": {"b": [1.0, float("nan")]}})
    assert not (tmp_path / "metrics.json").exists()
    write_json(tmp_path / "metrics.json", {"a": 1.0})
    assert json.loads((tmp_path / "metrics.json").read_text()) == {"a": 1.0}


def test_a_file_size_limit_is_one_line_and_the_old_checkpoint_stays(folder):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
        with pytest.raises(StorageError, match=r"cannot write .*last: the file is larger than the limit: raise it"):
            save_model(folder, small_model(seed=1), CONFIG, Progress(step=4))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, previous)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in folder.parent.iterdir()] == ["last"]


@pytest.mark.parametrize(("number", "cure"), [(30, "read-only"), (13, "no permission"), (28, "free some space")])
def test_a_folder_that_cannot_be_written_is_one_line(tmp_path, monkeypatch, number, cure):
    def fail(*args, **kwargs):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "mkdir", fail)
    with pytest.raises(StorageError, match=f"cannot write .*best: .*{cure}") as caught:
        save_model(tmp_path / "run/best", small_model(), CONFIG, Progress())
    assert "\n" not in str(caught.value)
