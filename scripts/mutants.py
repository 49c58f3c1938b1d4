"""Deliberate faults in the code, one at a time: the share that the tests catch.

``python scripts/mutants.py`` applies every fault of tests/mutants/*.tsv to a copy of the repository, runs the tests
that its line names, and writes results/faults/mutants.json and mutants.md. It takes about an hour of one core.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch  # so that every fork has it
from tqdm import tqdm

from pixelvae.commands.cli import run_script
from pixelvae.reporting.provenance import command_line
from pixelvae.storage import write_atomically, write_json

ROOT = Path(__file__).resolve().parents[1]
TABLES = ROOT / "tests/mutants"
COLUMNS = ("file", "text", "replacement", "tests", "lives because")
SECONDS = 300
"""Time limit of the tests of one fault."""

LEFT_OUT = shutil.ignore_patterns(".git", ".venv", "runs", "build", "__pycache__", "*.egg-info", ".*_cache")
"""What the copy of the repository does without."""


class Fault(NamedTuple):
    """One line of a table.

    Attributes:
        part: Name of the table.
        file: Path within the repository.
        text: What occurs exactly once in the file.
        replacement: What takes its place.
        tests: Arguments of pytest, relative to tests/.
        reason: Why no test can catch it, or none should; empty for others.
    """

    part: str
    file: str
    text: str
    replacement: str
    tests: tuple[str, ...]
    reason: str = ""

    @property
    def name(self) -> str:
        """One line, unique among the faults."""
        return f"{self.file}: {self.text} -> {self.replacement}"


def main(parts: list[str] | None = None, again: bool = False, out: Path = Path("results/faults")) -> None:
    """Apply each fault, run its tests, and count the faults that they catch.

    Args:
        parts: Names of tables; all by default. Other tables keep their outcomes.
        again: Run only faults that no test has caught yet.
        out: Folder for mutants.json and mutants.md.
    """
    faults = read_faults()
    if missing := set(parts or ()) - {fault.part for fault in faults}:
        raise ValueError(f"parts: {', '.join(sorted(missing))}; wanted {', '.join(sorted({f.part for f in faults}))}")
    if problems := [problem for fault in faults if (problem := misplaced(fault))]:
        raise ValueError(problems[0])
    path = out / "mutants.json"
    known: dict[str, Any] = json.loads(path.read_text())["faults"] if path.is_file() else {}
    outcomes = {fault.name: known[fault.name] for fault in faults if fault.name in known}
    chosen = [fault for fault in faults if not parts or fault.part in parts]
    chosen = [f for f in chosen if not again or outcomes.get(f.name, {}).get("outcome") != "caught"]
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch, "copy")
        shutil.copytree(ROOT, copy, ignore=LEFT_OUT)
        require_passing(copy, chosen)
        for fault in tqdm(chosen, desc="faults", unit="fault", dynamic_ncols=True):
            outcomes[fault.name] = outcome_of(copy, fault)
            write(path, faults, outcomes)
    print(write(path, faults, outcomes))


def read_faults() -> list[Fault]:
    """The faults of all tables.

    Raises:
        ValueError: If a line does not have four columns, or five.
    """
    faults = []
    for table in sorted(TABLES.glob("*.tsv")):
        lines = table.read_text(encoding="utf-8").splitlines()
        for number, line in enumerate(lines[1:], start=2):
            cells = line.split("\t")
            if len(cells) not in (4, 5) or not all(cells[i] for i in (0, 1, 3)):
                raise ValueError(f"{table}, line {number}: wanted {', '.join(COLUMNS)}, separated by tabs")
            file, text, replacement, tests, *reason = cells
            faults.append(Fault(table.stem, file, text, replacement, tuple(tests.split()), *reason))
    return faults


def misplaced(fault: Fault) -> str:
    """What is wrong with a fault's place, or nothing."""
    path = ROOT / fault.file
    count = path.read_text(encoding="utf-8").count(fault.text) if path.is_file() else 0
    if count == 1 and fault.text != fault.replacement:
        return ""
    return f"tests/mutants/{fault.part}.tsv: {fault.file} holds {fault.text!r} {count} times; wanted it once"


def require_passing(copy: Path, faults: Iterable[Fault]) -> None:
    """Check that the tests pass where there is no fault.

    Raises:
        ValueError: If one fails.
    """
    tests = list(dict.fromkeys(test for fault in faults for test in fault.tests))
    files = [test for test in tests if "::" not in test]
    tests = [test for test in tests if test in files or test.partition("::")[0] not in files]
    if tests and (found := run_tests(copy, tests, seconds=3600)) != (0, ""):
        raise ValueError(f"the tests do not pass without a fault: {found[1] or f'exit code {found[0]}'}")


def outcome_of(copy: Path, fault: Fault) -> dict[str, Any]:
    """Apply one fault, run its tests, and take the fault back."""
    path = copy / fault.file
    whole = path.read_text(encoding="utf-8")
    try:
        replace(path, whole.replace(fault.text, fault.replacement))
        code, failed = run_tests(copy, fault.tests, SECONDS)
    finally:
        replace(path, whole)
    outcome = "caught" if code == 1 or code < 0 else "lived" if code == 0 else "undecided"
    return {"part": fault.part, "outcome": outcome, "by": failed}


def replace(path: Path, content: str) -> None:
    """Write a file of the copy and forget its bytecode, for size and time may be those of before."""
    path.write_text(content, encoding="utf-8")
    for compiled in path.parent.glob(f"__pycache__/{path.stem}.*"):
        compiled.unlink()


def run_tests(copy: Path, tests: Sequence[str], seconds: float) -> tuple[int, str]:
    """Exit code of pytest (negative: the signal that ended it, 124: the time limit), and the first test that failed.

    In a forked process, which has torch already.
    """
    log = copy.with_name("log")
    process = os.fork()
    if process == 0:
        try:
            os.setsid()
            become(copy, log)
            code = pytest.main(["-x", "-q", "-p", "no:cacheprovider", *(f"tests/{test}" for test in tests)])
            sys.stdout.flush()
            os._exit(code)
        finally:
            os._exit(70)
    code = ended(process, seconds)
    found = re.search(r"^(?:FAILED|ERROR) (?:tests/)?(\S+)", log.read_text(errors="replace"), re.MULTILINE)
    return code, found[1] if found else ""


def become(copy: Path, log: Path) -> None:
    """Work in the copy, with its modules in place of ours."""
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(output, stream)
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115 (they stay open)
    os.chdir(copy)
    folders = [str(copy), str(copy / "tests")]
    sys.path[:0], os.environ["PYTHONPATH"] = folders, ":".join(folders)
    os.environ["PIXELVAE_CACHE"] = str(copy.parent / "cache")
    for name in [name for name in sys.modules if name.partition(".")[0] == "pixelvae"]:
        del sys.modules[name]


def ended(process: int, seconds: float) -> int:
    """Wait for a process, or end it and all that it started at the time limit."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    os.killpg(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return 124


def write(path: Path, faults: Sequence[Fault], outcomes: dict[str, Any]) -> str:
    """Write both files; returns the table."""
    write_json(path, {"command": command_line(), "faults": outcomes})
    content = table(faults, outcomes)
    write_atomically(path.with_suffix(".md"), content.encode())
    return content


def table(faults: Sequence[Fault], outcomes: dict[str, Any]) -> str:
    """Counts of each part, and the faults that lived with the reason."""
    lines = ["# Deliberate faults", "", "`python scripts/mutants.py` writes this page.", ""]
    lines += ["| part | faults | caught | lived | not run |", "|---|--:|--:|--:|--:|"]
    parts = list(dict.fromkeys(fault.part for fault in faults))
    rows = {part: [outcomes.get(fault.name) for fault in faults if fault.part == part] for part in parts}
    for part, found in (*rows.items(), ("all", [row for some in rows.values() for row in some])):
        caught = sum(row is not None and row["outcome"] == "caught" for row in found)
        open_ = sum(row is None for row in found)
        lines.append(f"| {part} | {len(found)} | {caught} | {len(found) - caught - open_} | {open_} |")
    lived = [f for f in faults if f.name in outcomes and outcomes[f.name]["outcome"] != "caught"]
    if lived:
        lines += ["", "| file | fault | outcome | reason |", "|---|---|---|---|"]
        cells = [(f.file, f"`{f.text}` → `{f.replacement}`", outcomes[f.name]["outcome"], f.reason) for f in lived]
        lines += [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in cells]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    run_script(main)
