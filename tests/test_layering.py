"""Who may import whom, and what no file may hold. Every offence is named with its place."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = sorted([*ROOT.glob("pixelvae/**/*.py"), *ROOT.glob("scripts/**/*.py")])
MAX_FILE, MAX_FUNCTION = 300, 50

# From the ground up. A part may import itself and what its row holds; pixelvae/__init__.py may import all.
GROUND = {"nn", "native", "data.spec", "distributions", "paths"}
NOUNS = {"encoders", "priors", "hierarchical", "context", "decoders", "likelihoods"}
MODELS = {"models", "objective"}
VERBS = {"training", "trainer", "checkpoint", "evaluation", "generation", "compression"}
VERBS |= {"tensorboard", "projector", "events", "report", "figures", "latent_figures", "sound"}
MAY_IMPORT = (
    {part: set() for part in [*GROUND, "distributed"]}
    | {"data": {"data.spec"}, "nn": {"native"}}
    | {noun: {"nn", "data.spec"} for noun in NOUNS}
    | dict.fromkeys(("encoders", "priors", "models"), GROUND)
    | {"hierarchical": GROUND | {"priors"}}
    | dict.fromkeys(MODELS, GROUND | NOUNS | MODELS)
    | {verb: GROUND | NOUNS | MODELS | VERBS | {"data", "distributed", "__init__"} for verb in VERBS}
)
ONLY_IN = {  # a module of others, and the parts that may know it
    "tensorboard": {"events"},
    "torch.utils.tensorboard": {"tensorboard", "projector"},
    "torch.distributed": {"distributed"},
    "torch.nn.parallel": {"distributed"},
    "jsonargparse": {"scripts"},
}


def part_of(module):
    """The row of the table that a module stands in: pixelvae.decoders.base is decoders."""
    first, *rest = module.split(".")
    if first != "pixelvae":
        return first
    return "data.spec" if rest[:2] == ["data", "spec"] else (rest or ["__init__"])[0]


def module_of(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def is_module(name):
    path = ROOT.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()


def imports(tree):
    """(line, module) of every import; `from pixelvae import nn` is an import of pixelvae.nn."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                is_inner = inner in ONLY_IN or (inner.startswith("pixelvae.") and is_module(inner))
                yield node.lineno, "." * node.level + (inner if is_inner else str(node.module))
        elif isinstance(node, ast.Attribute) and ast.unparse(node) in ONLY_IN:
            yield node.lineno, ast.unparse(node)


def import_offences(tree, module):
    """Imports that the table does not allow."""
    part = part_of(module)
    if part == "__init__":
        return
    if part != "scripts" and part not in MAY_IMPORT:
        yield 1, f"{module} has no row in MAY_IMPORT: say where it stands"
        return
    for line, name in imports(tree):
        if name.startswith("."):
            yield line, f"{module} imports {name}: write pixelvae in full"
        elif name.split(".")[0] == "pixelvae":
            if part != "scripts" and part_of(name) not in MAY_IMPORT[part] | {part}:
                yield line, f"{module} imports {name}"
        elif name.split(".")[0] == "scripts":
            yield line, f"{module} imports {name}: nothing imports a script"
        for other, parts in ONLY_IN.items():
            if f"{name}.".startswith(f"{other}.") and part not in parts:
                yield line, f"{module} imports {name}, which only {', '.join(parts)} may know"


def calls(node, name):
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name


def content_offences(tree, module):
    """What style.md forbids."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and lines_of(node) > MAX_FUNCTION:
            yield node.lineno, f"{node.name} has {lines_of(node)} lines, more than {MAX_FUNCTION}"
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "cuda":
            yield node.lineno, ".cuda(): a device is an argument"
        elif calls(node, "hasattr"):
            yield node.lineno, "hasattr: a class is what its type says"
        elif calls(node, "print") and part_of(module) != "scripts":
            yield node.lineno, "print: only scripts speak"
        elif isinstance(node, ast.ExceptHandler) and node.type is None:
            yield node.lineno, "bare except"
        elif isinstance(node, ast.Global):
            yield node.lineno, "global"


def lines_of(function):
    """Lines of a function without its docstring."""
    first = function.body[0]
    has_docstring = ast.get_docstring(function, clean=False) is not None
    docstring = first.end_lineno - first.lineno + 1 if has_docstring else 0
    return function.end_lineno - function.lineno + 1 - docstring


def assert_none(offences):
    """Fails with path:line: offence, for all offences of all files."""
    found = []
    for path in FILES:
        tree = ast.parse(path.read_text(), path.name)
        found += [f"{path.relative_to(ROOT)}:{line}: {what}" for line, what in offences(tree, module_of(path))]
    assert not found, "\n".join(["", *found])


def test_imports_go_down_only():
    """scripts -> verbs -> models -> nouns -> nn, data.spec; nouns do not know each other."""
    assert_none(import_offences)


def test_imports_form_no_circle():
    """Each file can be read before those that import it. Raises CycleError, which names the circle."""
    graph = {}
    for path in FILES:
        tree = ast.parse(path.read_text(), path.name)
        tree.body = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
        graph[module_of(path)] = {name for _, name in imports(tree)} - {module_of(path)}
    TopologicalSorter(graph).prepare()


def test_no_file_holds_what_style_forbids():
    """No .cuda(), hasattr, global, bare except, print in the package; no function over 50 lines."""
    assert_none(content_offences)


def test_files_fit_on_a_few_screens():
    """At most 300 lines."""
    lengths = {path.relative_to(ROOT): len(path.read_text().splitlines()) for path in FILES}
    long = [f"{path}: {length} lines, more than {MAX_FILE}" for path, length in lengths.items() if length > MAX_FILE]
    assert not long, "\n".join(["", *long])


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("pixelvae.decoders.base", "from pixelvae.likelihoods import Categorical"),
        ("pixelvae.decoders.base", "from pixelvae import likelihoods"),
        ("pixelvae.decoders.base", "import pixelvae.models.base as m"),
        ("pixelvae.decoders.base", "from pixelvae.latents.distributions import DiagonalNormal"),
        ("pixelvae.decoders.base", "from pixelvae import GatedPixelCNN"),
        ("pixelvae.nn.causal", "from pixelvae.data.spec import DataSpec"),
        ("pixelvae.latents.encoders", "from pixelvae.data import MNIST"),
        ("pixelvae.latents.encoders", "def f():\n    from pixelvae.latents.priors import Prior"),
        ("pixelvae.models.base", "from pixelvae.walk import walk"),
        ("pixelvae.generation", "from .models import PixelVAE"),
        ("pixelvae.generation", "from scripts import train"),
        ("pixelvae.training.loop", "from torch.utils.tensorboard import SummaryWriter"),
        ("pixelvae.training.loop", "from torch.utils import tensorboard"),
        ("pixelvae.training.loop", "from torch import distributed"),
        ("pixelvae.training.loop", "import torch.distributed as dist"),
        ("pixelvae.training.loop", "import torch\ntorch.distributed.barrier()"),
        ("pixelvae.checkpoint", "import jsonargparse"),
        ("pixelvae.utils", ""),
    ],
)
def test_a_forbidden_import_is_seen(module, source):
    """The law can fail."""
    assert len(set(import_offences(ast.parse(source), module))) == 1


@pytest.mark.parametrize(
    "source",
    [
        "x.cuda()",
        "hasattr(x, 'y')",
        "print(1)",
        "try:\n    f()\nexcept:\n    pass",
        "def f():\n    global x",
        "def f():\n" + "    x = 1\n" * 50,
    ],
)
def test_forbidden_content_is_seen(source):
    """The law can fail."""
    assert len(list(content_offences(ast.parse(source), "pixelvae.training.loop"))) == 1
