"""Test the lower bounds of all dependencies: install exactly them into a fresh environment, and run tests there.

``python scripts/lowest.py --environment build/lowest`` makes a virtual environment with the lowest version that
pyproject.toml admits of every dependency, and runs the suite in it. ``make lowest`` does the same.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
EXTRAS = ("audio", "tables", "dev")
"""Optional dependencies that the tests use."""


def main(environment: Path = Path("build/lowest"), tests: list[str] | None = None) -> None:
    """Install the lowest versions and run pytest.

    Args:
        environment: Folder of the virtual environment; made if it is not there.
        tests: Arguments of pytest; the whole suite by default.
    """
    python = environment / "bin/python"
    if not python.is_file():
        subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", *pinned(), "--editable", ROOT], check=True)
    # Old libraries warn of what newer ones that they build on will drop; that is no fault of ours.
    command = [str(python.absolute()), "-m", "pytest", "-W", "ignore::DeprecationWarning", *(tests or [])]
    subprocess.run(command, cwd=ROOT, check=True)


def pinned() -> list[str]:
    """Every dependency at its lower bound: ``torch>=2.10`` becomes ``torch==2.10.*``, its first minor version.

    Example:
        >>> [requirement for requirement in pinned() if requirement.startswith("einops")]
        ['einops==0.8.*']
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    required = [*project["dependencies"], *(r for extra in EXTRAS for r in project["optional-dependencies"][extra])]
    return list(dict.fromkeys(lowest(requirement) for requirement in required))


def lowest(requirement: str) -> str:
    """One requirement at its lower bound; one without a bound stays as it is.

    Example:
        >>> lowest("jsonargparse[signatures]>=4.49"), lowest("mkdocs>=1.6,<2"), lowest("pyyaml>=6")
        ('jsonargparse[signatures]==4.49.*', 'mkdocs==1.6.*', 'pyyaml==6.0.*')
    """
    found = re.match(r"([\w\-\[\]]+)>=([\d.]+)", requirement)
    if found is None:
        return requirement
    name, version = found.groups()
    version += ".0" * (version.count(".") == 0)
    return f"{name}=={version}" + ".*" * (version.count(".") == 1)


if __name__ == "__main__":
    from pixelvae.commands.cli import run_script

    run_script(main)
