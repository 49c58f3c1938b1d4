"""Every command is listed, found under both of its names, and documented; a wrong name is one line."""

import ast
import inspect
import runpy
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from pixelvae.commands import cli

ROOT = Path(__file__).parents[2]
FILES = {name: name.replace("-", "_") for name in cli.COMMANDS}


def test_every_command_has_its_file_and_every_file_is_a_command():
    shared = {"__init__", "checkpoints", "cli", "configs", "mistakes", "names", "output", "parsing", "sources", "trust"}
    files = {path.stem for path in (ROOT / "pixelvae/commands").glob("*.py")} - shared
    assert files == set(FILES.values())


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_a_command_and_its_script_say_what_the_list_says(name):
    module = ast.get_docstring(ast.parse((ROOT / f"pixelvae/commands/{FILES[name]}.py").read_text()))
    script = ast.get_docstring(ast.parse((ROOT / f"scripts/{FILES[name]}.py").read_text()))
    assert module.startswith(f"{cli.COMMANDS[name]}: ``pixelvae {name}")
    assert script.startswith(f"{cli.COMMANDS[name]}: ``python scripts/{FILES[name]}.py")


def test_help_lists_every_command_with_a_line(capsys):
    cli.main(["--help"])
    listed = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]
    assert {name: summary.strip() for name, summary in listed} == cli.COMMANDS


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_help_of_a_command_is_complete(name, capsys):
    """Every option is there with a sentence about it, under the command's own name."""
    with pytest.raises(SystemExit) as stopped:
        cli.main([name, "--help"])
    assert stopped.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert text.startswith(f"usage: pixelvae {name} ")
    main = import_module(f"pixelvae.commands.{FILES[name]}").main
    documented = inspect.getdoc(main).split("Args:")[1]
    for option, parameter in inspect.signature(main).parameters.items():
        sentence = documented.split(f"{option}: ")[1].splitlines()[0].split(":")[0]
        if name == "train" and option in ("config", "train", "objective"):
            continue  # filled in, or a group whose options have their own sentences
        is_flag = name == "train" or parameter.default is not parameter.empty
        assert not is_flag or f"--{option} " in text
        assert sentence in text


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_a_script_is_a_door_to_its_command(name, monkeypatch, capsys):
    file = ROOT / f"scripts/{FILES[name]}.py"
    monkeypatch.setattr("sys.argv", [str(file), "--help"])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(file), run_name="__main__")
    assert stopped.value.code == 0
    by_script = capsys.readouterr().out
    with pytest.raises(SystemExit):
        cli.main([name, "--help"])
    options = [" ".join(text.split("options:", 1)[1].split()) for text in (by_script, capsys.readouterr().out)]
    assert options[0] == options[1]


@pytest.mark.parametrize("name", ["receptive_field", "receptive-field"])
def test_both_spellings_are_one_command(name, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main([name, "--help"])
    assert stopped.value.code == 0
    assert "usage: pixelvae receptive-field" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("smaple", "did you mean sample?"),
        ("rate_distorsion", "did you mean rate-distortion?"),
        ("frobnicate", "pixelvae --help lists the commands"),
        ("--seed=1", "pixelvae --help lists the commands"),
    ],
)
def test_an_unknown_command_is_one_line_and_code_2(name, advice, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main([name, "runs/demo/best"])
    assert stopped.value.code == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert said.err.endswith(f"{advice}\n")


@pytest.mark.slow
def test_only_the_command_that_runs_is_imported():
    """In a process of its own, for this one has imported all of them."""
    lines = ["import sys; from pixelvae.commands.cli import main", "try: main(['sample', '--help'])"]
    code = [*lines, "finally: print(*sys.modules)"]
    done = subprocess.run([sys.executable, "-c", "\n".join(code)], check=True, capture_output=True, text=True, cwd=ROOT)
    loaded = set(done.stdout.splitlines()[-1].split())
    commands = {f"pixelvae.commands.{file}" for file in FILES.values()}
    assert loaded & commands == {"pixelvae.commands.sample"}


@pytest.mark.slow
def test_the_package_runs_as_a_module():
    command = [sys.executable, "-m", "pixelvae", "trian"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2
    assert done.stderr == "pixelvae: there is no command 'trian'; did you mean train?\n"
