"""What is compiled when it is first wanted, and only then."""

import ctypes

import pytest

from pixelvae.native import BuildError, build


@pytest.fixture
def source(tmp_path, monkeypatch):
    monkeypatch.setenv("PIXELVAE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "answer.h").write_text("constexpr int answer = 42;\n")
    path = tmp_path / "answer.cpp"
    path.write_text('#include "answer.h"\nextern "C" int get() { return answer + MORE; }\n')
    return path


def test_a_library_is_built_once_and_anew_when_anything_changes(source):
    """Of source, headers and flags; what was there before stays."""
    first = build(source, ["-DMORE=0"])
    assert ctypes.CDLL(str(first)).get() == 42
    written = first.stat().st_mtime_ns
    assert build(source, ["-DMORE=0"]) == first
    assert first.stat().st_mtime_ns == written
    assert ctypes.CDLL(str(build(source, ["-DMORE=1"]))).get() == 43
    (source.parent / "answer.h").write_text("constexpr int answer = 7;\n")
    assert ctypes.CDLL(str(build(source, ["-DMORE=0"]))).get() == 7
    assert len([*first.parent.iterdir()]) == 3  # and nothing temporary


def test_a_failure_says_what_the_compiler_said(source, monkeypatch):
    """A source that does not compile leaves nothing behind; a compiler that is not there has a name."""
    with pytest.raises(BuildError, match="MORE"):
        build(source)
    assert not [*(source.parent / "cache").iterdir()]
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(BuildError, match="no C\\+\\+ compiler"):
        build(source, ["-DMORE=0"])
