"""C++ sources of this package, compiled for this machine when they are first wanted."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

FLAGS = ("-O3", "-march=native", "-std=c++17", "-fopenmp", "-fPIC", "-shared")


class BuildError(RuntimeError):
    """There is no C++ compiler, or it did not compile."""


def build(source: Path, flags: Sequence[str] = ()) -> Path:
    """The shared library of a C++ file, from the cache where it is there.

    Its name holds a hash of the source with the headers beside it, the flags, the compiler and the processor. It is
    compiled under a temporary name and then renamed, so processes that do so at the same time do no harm.

    Args:
        source: The C++ file.
        flags: Further flags of the compiler.

    Raises:
        BuildError: If there is no compiler, or it fails; says what it said.
    """
    compiler = shutil.which(os.environ.get("CXX", "g++"))
    if compiler is None:
        raise BuildError(f"no C++ compiler to build {source.name} with; install g++, or set CXX")
    command = [compiler, *FLAGS, *flags]
    path = cache() / f"{source.stem}-{_key(source, command)}.so"
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(suffix=".so", dir=path.parent)
    os.close(handle)
    try:
        done = subprocess.run([*command, str(source), "-o", temporary], capture_output=True, text=True, check=False)
        if done.returncode:
            raise BuildError(f"{compiler} could not build {source}:\n{done.stderr}")
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)
    return path


def cache() -> Path:
    """The folder of what was compiled: PIXELVAE_CACHE, or pixelvae in the user's own cache."""
    own = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pixelvae"
    return Path(os.environ.get("PIXELVAE_CACHE") or own)


def _key(source: Path, command: Sequence[str]) -> str:
    version = subprocess.run([command[0], "--version"], capture_output=True, text=True, check=False).stdout
    digest = hashlib.sha256("\n".join([*command, version, _processor()]).encode())
    text = source.read_text()
    digest.update(text.encode())
    for name in re.findall(r'^#include "(.+)"$', text, re.MULTILINE):
        digest.update((source.parent / name).read_bytes())
    return digest.hexdigest()[:16]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return "\n".join(sorted({line for line in lines if line.startswith(("model name", "flags"))}))
