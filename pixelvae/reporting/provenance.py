"""Provenance of a result: its command, configuration, machine and versions."""

from __future__ import annotations

import platform
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml

from pixelvae.storage import write_atomically


def command_line() -> str:
    """The command line of this process."""
    program, *arguments = sys.argv
    installed = Path(program).stem == "pixelvae" or Path(program).parts[-2:] == ("pixelvae", "__main__.py")
    return shlex.join(["pixelvae", *arguments] if installed else ["python", program, *arguments])


def environment() -> str:
    """Versions of Python and torch, operating system, and device."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{torch.get_num_threads()} CPU threads"
    machine = f"{platform.system()} {platform.machine()}, {device}, {torch.backends.cpu.get_cpu_capability()}"
    return f"python {platform.python_version()}\ntorch {torch.__version__}\n{machine}\n"


def write_provenance(folder: Path, config: Mapping[str, Any]) -> None:
    """Write config.yaml and environment.txt beside results."""
    write_atomically(folder / "config.yaml", yaml.safe_dump(dict(config), sort_keys=False).encode())
    write_atomically(folder / "environment.txt", environment().encode())
