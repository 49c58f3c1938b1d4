"""An installed package has all that a working copy has: compiled code's sources and configurations."""

import subprocess
import sys
from pathlib import Path

import pytest

from pixelvae.commands import configs

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The files of a wheel, in a folder."""
    pytest.importorskip("setuptools")
    folder = tmp_path_factory.mktemp("built")
    command = [sys.executable, "setup.py", "-q", "egg_info", f"--egg-base={folder}", "build_py", "--build-lib", folder]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return folder


def test_every_file_of_the_package_is_installed(built):
    kinds = ("*.py", "*.cpp", "*.h")
    wanted = {path.relative_to(ROOT) for kind in kinds for path in (ROOT / "pixelvae").rglob(kind)}
    assert wanted
    assert {path for path in wanted if not (built / path).is_file()} == set()


def test_the_configurations_are_found_in_an_installed_package(built, monkeypatch, tmp_path):
    beside = configs.shipped()
    assert set(beside) == {f"{path.parent.name}/{path.stem}" for path in (ROOT / "configs").glob("*/*.yaml")}
    monkeypatch.setattr(configs, "PLACES", (built / "pixelvae/configs", built / "configs"))
    monkeypatch.chdir(tmp_path)
    installed = configs.shipped()
    assert {name: path.read_bytes() for name, path in installed.items()} == {
        name: path.read_bytes() for name, path in beside.items()
    }
    assert configs.find_config("configs/mnist5k/pixelvae.yaml") == built / "pixelvae/configs/mnist5k/pixelvae.yaml"


def test_published_models_are_named_in_an_installed_package(built):
    names = {path.relative_to(ROOT / "results") for path in (ROOT / "results").glob("*/*/config.yaml")}
    installed = {path.relative_to(built / "pixelvae/results") for path in (built / "pixelvae/results").rglob("*.yaml")}
    assert installed == names
    assert (built / "pixelvae/results/weights.json").read_bytes() == (ROOT / "results/weights.json").read_bytes()
