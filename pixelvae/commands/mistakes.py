"""Messages of errors of use: one line with the given value, the expected value and the option to change."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Collection

import yaml

from pixelvae.commands.names import did_you_mean
from pixelvae.training.trainer import TrainingDivergedError

TYPES = {"int": "an integer", "float": "a number", "bool": "true or false", "str": "a text", "NoneType": "null"}


def exit_code(error: Exception) -> int | None:
    """2 for an error of use, 1 for a run that diverged, None for an error of the program."""
    if isinstance(error, ValueError | OSError | argparse.ArgumentError | yaml.YAMLError):
        return 2
    return 1 if isinstance(error, TrainingDivergedError) else None


def one_line(error: Exception) -> str:
    """The message of an error without line breaks; an error of the file system begins with the file's name.

    Example:
        >>> one_line(ValueError("num_images=0;\\n  wanted at least 1"))
        'num_images=0; wanted at least 1'
        >>> one_line(PermissionError(13, "Permission denied", "runs/demo"))
        'runs/demo: permission denied'
    """
    if isinstance(error, OSError) and error.strerror:
        reason = error.strerror[0].lower() + error.strerror[1:]
        return f"{error.filename}: {reason}" if error.filename else reason
    return " ".join(str(error).split())


def explain(message: str, options: Collection[str], arguments_of: Callable[[str], Collection[str]]) -> str:
    """Convert a parser's error to one line.

    Args:
        message: The message of jsonargparse, of several lines and with names of types.
        options: Names of all options, to suggest the nearest.
        arguments_of: Maps the name of a class to the names of its arguments.

    Example:
        >>> def explained(message):
        ...     return explain(message, ["train.steps"], lambda name: ["num_layers"])
        >>> explained('Parser key "train.steps":\\n  Expected a <class \\'int\\'>. Got value: x')
        '--train.steps=x; wanted an integer'
        >>> explained("unrecognized arguments: --train.step 3")
        'there is no option --train.step; did you mean --train.steps?'
    """
    option = ".".join(re.findall(r'Parser key "([^"]+)"', message))
    found: re.Match[str] | None
    if found := re.search(r"unrecognized arguments: (\S+)", message):
        return _unknown(found[1], options)
    if found := re.search(r"Group '(\S+)' does not accept option '(\S+)'", message):
        return _unknown(f"--{found[1]}.{found[2]}", options)
    if found := re.search(r"argument (--\S+): expected one argument", message):
        return f"{found[1]} wants a value"
    if found := re.search(r"arguments are required: ([\w, .]+)", message):
        return _missing(found[1].split(", "), option, _class_in(message))
    if found := re.search(r"[Oo]ption '(\S+)' is not accepted", message):
        name = _class_in(message)
        advice = did_you_mean(found[1], arguments_of(name), f"{name} has none like it", prefix=f"--{option}.")
        return f"there is no option --{option}.{found[1]} of {name}; {advice}"
    return _wrong_type(message, option)


def _unknown(argument: str, options: Collection[str]) -> str:
    if not argument.startswith("-"):
        return f"{argument!r} is one argument too many"
    name = argument.partition("=")[0]
    advice = did_you_mean(name.lstrip("-"), options, "--help lists them", prefix="--")
    return f"there is no option {name}; {advice}"


def _missing(names: list[str], option: str, chosen: str) -> str:
    if option:
        return f"--{option} {chosen} also wants {', '.join(f'--{option}.{name}' for name in names)}"
    return f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} missing; --help describes all options"


def _wrong_type(message: str, option: str) -> str:
    types = re.findall(r"Expected an? (.+?)(?:\. Got value|\n|$)", message)
    value = re.search(r"(?:Got|Given) value: (.*?)(?:\. Got value|\n|$)", message)
    if option and types and value:
        return f"--{option}={value[1]}; wanted {_wanted(types)}"
    return " ".join(message.split())


def _class_in(message: str) -> str:
    found = re.search(r"class_path[= ]'(?:\w+\.)*(\w+)'", message)
    return found[1] if found else "this class"


def _wanted(types: Collection[str]) -> str:
    """Types in words: ``<class 'int'>`` is an integer; a Literal is its values."""
    words: list[str] = []
    for text in types:
        literal = re.search(r"Literal\[(.*)\]", text)
        named = re.search(r"<class '(?:\w+\.)*(\w+)'>", text)
        if literal:
            words += [value.strip("' ") for value in literal[1].split(",")]
        elif named:
            words.append(TYPES.get(named[1], named[1]))
        else:
            words.append(text)
    return " or ".join(sorted(dict.fromkeys(words), key=lambda word: word == "null"))  # null comes last
