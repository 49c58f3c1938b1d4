"""The law of layering: who may import whom, floors and circles of imports, what no file may hold."""

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent
FILES = sorted([*ROOT.glob("pixelvae/**/*.py"), *ROOT.glob("scripts/**/*.py")])
MAX_FUNCTION = 50

# From the top down. A part, which is a folder or a file of pixelvae/, may import itself, its row and the rows below.
ROWS = (
    ("scripts", "commands", "library", "__main__"),
    ("reporting",),
    ("training",),
    ("checkpoint", "evaluation", "compression"),
    ("models", "generation", "completion", "walk"),
    ("decoders",),
    ("latents", "context", "likelihoods"),
    (
        *("data", "nn", "sampling", "storage", "devices", "distributed", "memory", "native"),
        *("progress", "boundary", "ranges", "weights", "download", "hub"),
    ),
)
ROW_OF = {part: number for number, row in enumerate(ROWS) for part in row}
NOUNS = {"latents", "context", "likelihoods"}
NEVER = {  # importer: what it may not import although its row allows it
    "decoders": {"likelihoods"},  # a decoder is given num_params
    "nn": {"data"},
    "sampling": {"data"},
} | dict.fromkeys(NOUNS, NOUNS)
ONLY_IN = {  # a foreign module, and the parts that may import it
    "tensorboard": {"reporting", "scripts"},
    "torch.utils.tensorboard": {"reporting"},
    "torch.distributed": {"distributed"},
    "torch.nn.parallel": {"distributed"},
    "jsonargparse": {"commands", "scripts"},
    "importlib.import_module": {"commands", "scripts"},  # an import that this law cannot read
    "numba": set(),
    "llvmlite": set(),
}


def part_of(module):
    """The folder or file of a module: pixelvae.decoders.base is in decoders, the package itself is __init__."""
    first, *rest = module.split(".")
    return (rest or ["__init__"])[0] if first == "pixelvae" else first


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
        elif calls(node, "__import__"):
            yield node.lineno, "importlib.import_module"


def calls(node, name):
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name


def import_offences(tree, module):
    """Imports that go up, stay among nouns, or are forbidden for the part."""
    part = part_of(module)
    if part != "__init__" and part not in ROW_OF:
        yield 1, f"{module} has no floor: give {part} a row in ROWS"
        return
    for line, name in imports(tree):
        if name.startswith("."):
            yield line, f"{module} imports {name}: write pixelvae in full"
        elif name.split(".")[0] == "scripts":
            yield line, f"{module} imports {name}: nothing imports a script"
        elif name.split(".")[0] == "pixelvae":
            yield from ((line, offence) for offence in inner_offences(module, name))
        for other, parts in ONLY_IN.items():
            if f"{name}.".startswith(f"{other}.") and part not in parts:
                yield line, f"{module} imports {name}, which {', '.join(sorted(parts)) or 'nothing'} may import"


def inner_offences(module, name):
    """What is wrong with one module of pixelvae that imports another."""
    importer, imported = part_of(module), part_of(name)
    if importer in {"__init__", "scripts"} or importer == imported:
        return
    if imported == "__init__":
        yield f"{module} imports the package itself: name the module"
    elif imported not in ROW_OF:
        yield f"{module} imports {name}, which has no floor"
    elif ROW_OF[imported] < ROW_OF[importer]:
        yield f"{module} imports {name}, which is above it"
    elif imported in NEVER.get(importer, ()):
        yield f"{module} imports {name}, which {importer} may not know"


def content_offences(tree, module):
    """What style.md forbids."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and lines_of(node) > MAX_FUNCTION:
            yield node.lineno, f"{node.name} has {lines_of(node)} lines, more than {MAX_FUNCTION}"
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "cuda":
            yield node.lineno, ".cuda(): a device is an argument"
        elif calls(node, "hasattr"):
            yield node.lineno, "hasattr: use the type of a class"
        elif calls(node, "print") and part_of(module) not in {"commands", "scripts"}:
            yield node.lineno, "print: only commands and scripts print"
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


def import_graph(files):
    """module: the modules of pixelvae and scripts that it imports, from (module, source) pairs."""
    return {
        module: {name for _, name in imports(ast.parse(source)) if name.split(".")[0] in ("pixelvae", "scripts")}
        for module, source in files
    }


def circles(graph):
    """Groups of modules that import one another, directly or through others."""
    reached = {module: set(names) for module, names in graph.items()}
    for through, beyond in reached.items():
        for names in reached.values():
            if through in names:
                names.update(beyond)
    groups = {frozenset(n for n in names if m in reached.get(n, ())) for m, names in reached.items() if m in names}
    return sorted(map(sorted, groups))


def floors(graph):
    """The rows that are in use, from the ground up; rows of which neither imports the other share a floor."""
    below = {number: set() for number in range(len(ROWS))}
    for module, names in graph.items():
        rows = [ROW_OF.get(part_of(name)) for name in (module, *names)]
        below[rows[0]] = below.get(rows[0], set()) | {row for row in rows[1:] if row is not None and row != rows[0]}
    height = {}
    for number in reversed(range(len(ROWS))):
        height[number] = 1 + max((height[row] for row in below[number] if row > number), default=0)
    parts = {part_of(module) for module in graph}
    found = [
        sorted(part for number, row in enumerate(ROWS) if height[number] == floor for part in row if part in parts)
        for floor in range(1, max(height.values()) + 1)
    ]
    return [floor for floor in found if floor]
