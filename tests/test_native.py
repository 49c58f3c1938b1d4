"""C++ to a shared library in the cache, when it is first wanted and only then."""

import ctypes

import pytest

from pixelvae.native import BuildError, build


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("PIXELVAE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "one.cpp"
    path.write_text('extern "C" int one() { return 1; }')
    return path


def test_builds_once(source):
    path = build(source)
    changed = path.stat().st_mtime_ns
    assert build(source) == path
    assert path.stat().st_mtime_ns == changed
    assert [p.name for p in path.parent.iterdir()] == [path.name]  # nothing temporary stays


def test_another_source_is_another_library(source):
    first = build(source)
    source.write_text('extern "C" int one() { return 2; }')
    assert build(source) != first


def test_a_mistake_is_one_line(source):
    source.write_text("nonsense")
    with pytest.raises(BuildError, match=r"failed: .*one\.cpp:1") as raised:
        build(source)
    assert len(str(raised.value).splitlines()) == 1


def test_a_folder_that_cannot_be_written_is_named(source, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PIXELVAE_CACHE", str(tmp_path / "file"))
    with pytest.raises(BuildError, match="PIXELVAE_CACHE names another folder"):
        build(source)


def test_headers_and_flags_count(source):
    """A header that a header includes, too."""
    (source.parent / "inner.h").write_text("constexpr int answer = 42;\n")
    (source.parent / "outer.h").write_text('#include "inner.h"\n')
    source.write_text('#include "outer.h"\nextern "C" int one() { return answer + MORE; }\n')
    paths = [build(source, ["-DMORE=0"]), build(source, ["-DMORE=1"])]
    (source.parent / "inner.h").write_text("constexpr int answer = 7;\n")
    paths.append(build(source, ["-DMORE=0"]))
    assert [ctypes.CDLL(str(path)).one() for path in paths] == [42, 43, 7]
