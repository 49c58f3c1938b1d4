"""The command line of a command, from the signature of its ``main``."""

from __future__ import annotations

import argparse
import inspect
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jsonargparse
import yaml

from pixelvae.checkpoint import load_config, without_download
from pixelvae.commands.checkpoints import find_checkpoint
from pixelvae.commands.mistakes import explain
from pixelvae.commands.names import did_you_mean
from pixelvae.commands.trust import trusted
from pixelvae.data import DATA_SETS
from pixelvae.models.assembly import CLASSES, path_of

PARTS = {"data": DATA_SETS, **CLASSES}
"""Options that choose a class, and pixelvae's own classes for each."""

ANSWERS = {"true", "false", "yes", "no", "auto"}
"""Values of a boolean option; without a value it is true."""


def make_parser(prog: str | None, main: Callable[..., Any], usage: str) -> jsonargparse.ArgumentParser:
    """A parser without abbreviations and without options yet.

    Args:
        prog: Name of the command in usage messages; the running script's name by default.
        main: A function whose docstring, up to the arguments, is the top of the help.
        usage: Usage after the command's name.
    """
    documentation = re.split(r"\n\n(?:Args|Raises):", inspect.getdoc(main) or "")[0]
    parser = jsonargparse.ArgumentParser(
        prog=prog, description=documentation, exit_on_error=False, allow_abbrev=False, usage=f"%(prog)s {usage}"
    )
    parser.add_argument("--debug", action="store_true", help="Print the traceback of an error.")
    return parser


def parse(parser: jsonargparse.ArgumentParser, arguments: Sequence[str]) -> jsonargparse.Namespace:
    """Parse the options of a command line.

    Raises:
        ValueError: If an option is unknown, or a value is not of its type; in one line.
    """
    switches = {name for name, value in parser.get_defaults().items() if isinstance(value, bool)}
    try:
        return parser.parse_args(spelt_out(arguments, switches))
    except argparse.ArgumentError as error:
        raise ValueError(explain(str(error), known_options(parser), arguments_of)) from error


def call(main: Callable[..., Any], arguments: Sequence[str], prog: str | None) -> Any:
    """Call a command's ``main`` with the options of a command line.

    A run given as a checkpoint is replaced by its best checkpoint. Options of ``--data`` that are not given come from
    the checkpoint's data set.

    Raises:
        ValueError: If the command line is not a valid call.
    """
    parameters = inspect.signature(main).parameters
    positional = [name.upper() for name, parameter in parameters.items() if parameter.default is parameter.empty]
    parser = make_parser(prog, main, " ".join([*positional, "[options]"]))
    parser.add_function_arguments(main, as_positional=True, as_group=False)
    rest, about_data = divide(arguments, "data")
    if about_data and "data" in parameters:
        classes = trusted(",".join(value for name, value, _ in options_in(rest) if name == "trust"))
        for name, value, _ in options_in(about_data):
            check_classes({name.removesuffix(".class_path"): value}, "--", classes)
        folder = find_checkpoint(parse(parser, rest).checkpoint)
        parser.set_defaults({"data": without_download(load_config(folder)["data"])})
    chosen = parser.instantiate(parse(parser, arguments))
    options = {name: chosen[name] for name in parameters}
    if "checkpoint" in options:
        options["checkpoint"] = announced(options["checkpoint"])
    if options.get("checkpoints"):
        options["checkpoints"] = [announced(folder) for folder in options["checkpoints"]]
    return main(**options)


def announced(folder: Path) -> Path:
    """The checkpoint of a folder; for a run, print which one."""
    found = find_checkpoint(folder)
    if found != folder:
        print(f"{folder} is {'a run' if Path(folder).is_dir() else 'a published model'}; taking {found}")
    return found


def check_classes(config: Mapping[str, Any], where: str, classes: Sequence[type] = ()) -> None:
    """Check, before any import by name, that only pixelvae's own classes and trusted ones are named.

    Args:
        config: Options and their values. A value that chooses a class is its name, a mapping, or either as text.
        where: Prefix of the option in the message.
        classes: The trusted classes.

    Raises:
        ValueError: If another class is named; the message suggests the nearest names.
    """
    for option in PARTS.keys() & config.keys():
        entry = config[option]
        if isinstance(entry, str):
            entry = yaml.safe_load(entry)
        path = entry.get("class_path") if isinstance(entry, Mapping) else entry
        if path is None or path in map(path_of, classes):
            continue
        names = [cls.__name__ for cls in PARTS[option]]
        name = str(path).rpartition(".")[2]
        if name not in names or not re.fullmatch(r"(pixelvae\.([a-z_]+\.)*)?\w+", str(path)):
            wanted = f"wanted one of {', '.join(names)}, or a class of your own with --trust MODULE"
            raise ValueError(
                f"{where}{option}={path} is no class of pixelvae's for it; {did_you_mean(name, names, wanted)}"
            )


def arguments_of(name: str) -> list[str]:
    """The arguments of one of pixelvae's own classes, by the class's name."""
    found = [cls for classes in PARTS.values() for cls in classes if cls.__name__ == name]
    return list(inspect.signature(found[0]).parameters) if found else []


def known_options(parser: jsonargparse.ArgumentParser) -> list[str]:
    """Names of all options of a parser, and of the arguments of the classes that they may choose."""
    names = [name for name in parser.get_defaults().keys() if name != "config"]  # noqa: SIM118 (no mapping)
    chosen = [option for option in PARTS if option in names]
    leaves = [f"{option}.{name}" for option in chosen for cls in PARTS[option] for name in arguments_of(cls.__name__)]
    return list(dict.fromkeys([*names, *leaves]))


def spelt_out(arguments: Sequence[str], switches: Collection[str]) -> list[str]:
    """Normalise arguments: underscores in the names of options, explicit values of boolean options.

    Example:
        >>> spelt_out(["runs/a", "--num-images", "3", "--latents", "--split=a-b"], {"latents"})
        ['runs/a', '--num_images', '3', '--latents=true', '--split=a-b']
    """
    words: list[str] = []
    for i, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if not argument.startswith("--"):
            words.append(argument)
            continue
        name = "--" + name[2:].replace("-", "_")
        alone = not equals and not (i + 1 < len(arguments) and arguments[i + 1].lower() in ANSWERS)
        words.append(f"{name}=true" if alone and name[2:] in switches else f"{name}{equals}{value}")
    return words


def options_in(arguments: Sequence[str]) -> Iterator[tuple[str, str, list[str]]]:
    """Name, value and words of every option; the name of a positional argument is empty."""
    rest = iter(arguments)
    for argument in rest:
        name, equals, value = argument.partition("=")
        if not argument.startswith("--"):
            yield "", argument, [argument]
        elif equals:
            yield name[2:], value, [argument]
        else:
            following = next(rest, None)
            yield name[2:], following or "", [argument] if following is None else [argument, following]


def divide(arguments: Sequence[str], option: str) -> tuple[list[str], list[str]]:
    """Separate the words of an option and its parts from the others. Returns the others, then those.

    Example:
        >>> divide(["runs/a", "--data.root", "b", "--seed=3"], "data")
        (['runs/a', '--seed=3'], ['--data.root', 'b'])
    """
    rest: list[str] = []
    taken: list[str] = []
    words = iter(arguments)
    for word in words:
        name, equals, _ = word.partition("=")
        if name == f"--{option}" or name.startswith(f"--{option}."):
            taken += [word] if equals else [word, *([following] if (following := next(words, None)) else [])]
        else:
            rest.append(word)
    return rest, taken
