"""Compile the package's C++ on first use, with the system's compiler, into a cache that processes can share."""

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

import platformdirs

FLAGS = ("-std=c++17", "-O3", "-shared", "-fPIC")
SECONDS = 120


class BuildError(RuntimeError):
    """A library cannot be built; the message gives the reason in one line."""


def build(source: Path, flags: Sequence[str] = ("-march=native",)) -> Path:
    """The shared library of a C++ file, compiled if it is not in the cache.

    The cache is the folder ``PIXELVAE_CACHE``, or the user's cache folder. The name of a library is a hash of the
    source, the headers that it includes, flags, compiler and processor. An atomic rename puts it in place, so several
    processes can build at the same time.

    Args:
        source: The file to compile.
        flags: Additional flags of the compiler.

    Raises:
        BuildError: If there is no compiler, no folder to write to, or the compiler fails.
    """
    compiler = _compiler()
    flags = [*FLAGS, *flags]
    key = hashlib.sha256(b"\0".join([*_texts(source), " ".join(flags).encode(), _identity(compiler)]))
    library = _cache() / f"{source.stem}-{key.hexdigest()[:24]}.so"
    if library.is_file():
        return library
    try:
        library.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=library.parent) as folder:
            made = Path(folder) / library.name
            command = [compiler, *flags, str(source), "-o", str(made)]
            done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
            if done.returncode:
                raise BuildError(f"{compiler} failed: {_error_line(done.stderr)}")
            made.replace(library)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuildError(f"{library.parent}: {error}; PIXELVAE_CACHE names another folder") from error
    return library


def _texts(source: Path) -> list[bytes]:
    """A file, and the headers beside it that it includes."""
    text = source.read_bytes()
    names = re.findall(rb'^#include "(.+)"$', text, re.MULTILINE)
    return [text, *(part for name in names for part in _texts(source.parent / name.decode()))]


def _compiler() -> str:
    for name in (os.environ.get("CXX"), "c++", "g++", "clang++"):
        if name and shutil.which(name):
            return str(shutil.which(name))
    raise BuildError("no C++ compiler (c++, g++ or clang++, or what CXX names)")


def _error_line(output: str) -> str:
    """The first line of an error."""
    lines = output.strip().splitlines() or ["no message"]
    return next((line for line in lines if "error" in line), lines[0])


def _cache() -> Path:
    return Path(os.environ.get("PIXELVAE_CACHE") or platformdirs.user_cache_dir("pixelvae"))


def _identity(compiler: str) -> bytes:
    """The version of the compiler and the processor, on which the compiled code also depends."""
    version = subprocess.run([compiler, "--version"], capture_output=True, timeout=SECONDS, check=False).stdout
    features = Path("/proc/cpuinfo")
    lines = features.read_text().splitlines() if features.is_file() else []
    own = [line for line in lines if line.lower().startswith(("flags", "features", "model name"))][:2]
    return b"\0".join([version, platform.machine().encode(), platform.processor().encode(), "\n".join(own).encode()])
