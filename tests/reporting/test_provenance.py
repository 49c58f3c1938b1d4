"""Results name the command, the configuration and the machine that made them."""

import platform

import pytest
import torch
import yaml

from pixelvae.reporting.provenance import command_line, environment, write_provenance


@pytest.mark.parametrize(
    ("argv", "command"),
    [
        (["scripts/sample.py", "runs/a b/best"], "python scripts/sample.py 'runs/a b/best'"),
        (["/somewhere/bin/pixelvae", "sample", "runs/best"], "pixelvae sample runs/best"),
        (["/somewhere/pixelvae/__main__.py", "sample"], "pixelvae sample"),
        (["/somewhere/pytest/__main__.py", "-x"], "python /somewhere/pytest/__main__.py -x"),
    ],
)
def test_the_command_can_be_typed_again(argv, command, monkeypatch):
    monkeypatch.setattr("sys.argv", argv)
    assert command_line() == command


def test_versions_and_machine_are_written_beside_the_configuration(tmp_path):
    config = {"seed": 1, "decoder": {"class_path": "GatedPixelCNN"}}
    write_provenance(tmp_path, config)
    assert yaml.safe_load((tmp_path / "config.yaml").read_text()) == config
    text = (tmp_path / "environment.txt").read_text()
    assert text == environment()
    assert f"torch {torch.__version__}\n" in text
    assert text.startswith(f"python {platform.python_version()}\n")
