"""Collects, by `ast`, the templates of all sentences that the errors of luban can say; it runs none of the package.

A template is a string with ``{}`` where a value stands, ``{:n}`` where a count does. Followed are the errors of
errors.py, functions that hand a parameter on to one of them, local variables, conditional expressions, concatenation,
and functions that return text.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src" / "luban"
SEEDS = {"LubanError", "ConfigError", "FolderError", "BaseUnavailable", "GateError", "DataError", "ServiceError"}
TEXTS = ("happened", "expected", "remedy")
PLURAL = "counted"

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass
class Carrier:
    """Something called with text: its parameters in order, and those that become sentences."""

    parameters: Sequence[str]
    texts: set[str] = field(default_factory=set)


@dataclass
class Place:
    """Where an expression stands: its module's functions are looked up first."""

    module: str
    function: Function | None


class Collector:
    """The sentences of a tree of sources: ``found`` maps each template to the places that say it."""

    def __init__(self, root: Path = SOURCE) -> None:
        self.trees = {
            file.relative_to(root).as_posix(): ast.parse(file.read_text(encoding="utf8"))
            for file in sorted(root.rglob("*.py"))
            if not {"templates", "samples"} & set(file.parts)
        }
        self.carriers: dict[str, Carrier] = {}
        self.functions: dict[tuple[str, str], Function] = {}
        self.by_name: dict[str, list[tuple[str, Function]]] = {}
        self.found: dict[str, set[str]] = {}
        for name in SEEDS:
            self.carriers[name] = Carrier(TEXTS, set(TEXTS))
        self.carriers["Registry"] = Carrier(("kind",), {"kind"})
        self.carriers["Column"] = Carrier(("name", "about"), {"about"})
        self.carriers["Finding"] = Carrier(("kind", "severity", "message"), {"message"})
        for module, tree in self.trees.items():
            self._declare(module, tree)
        known = -1
        while known != self._size():
            known = self._size()
            for module, tree in self.trees.items():
                self._walk(module, tree, None)

    def _size(self) -> int:
        return len(self.found) + sum(len(carrier.texts) for carrier in self.carriers.values())

    def _declare(self, module: str, tree: ast.Module) -> None:
        for node in ast.walk(tree):
            if isinstance(node, Function):
                self.functions[module, node.name] = node
                self.by_name.setdefault(node.name, []).append((module, node))
            if isinstance(node, ast.ClassDef) and node.name not in SEEDS:
                self._declare_class(node)

    def _declare_class(self, node: ast.ClassDef) -> None:
        bases = {base.id for base in node.bases if isinstance(base, ast.Name)}
        if not bases & set(self.carriers):
            return
        init = next((each for each in node.body if isinstance(each, Function) and each.name == "__init__"), None)
        if init is None:
            self.carriers[node.name] = Carrier(TEXTS, set(TEXTS))
        else:
            self.carriers[node.name] = Carrier([a.arg for a in init.args.args[1:]])

    def _walk(self, module: str, node: ast.AST, function: Function | None, owner: str = "") -> None:
        for child in ast.iter_child_nodes(node):
            inner = child if isinstance(child, Function) else function
            within = child.name if isinstance(child, ast.ClassDef) else owner
            if isinstance(child, ast.Call):
                self._call(child, Place(module, function), owner)
            self._walk(module, child, inner, within)

    def _call(self, call: ast.Call, place: Place, owner: str) -> None:
        name = _called(call)
        if name == PLURAL and len(call.args) >= 2 and isinstance(call.args[1], ast.Constant):
            noun = str(call.args[1].value)
            for said in (noun, re.sub("y$", "ie", re.sub("s$", "se", noun)) + "s"):
                self._add(f"{{:n}} {said}", place, call)
            return
        if name == "__init__":
            if owner not in self.carriers:
                return
            carrier = Carrier(TEXTS, set(TEXTS))
        elif name in self.carriers:
            carrier = self.carriers[name]
        else:
            return
        for parameter, value in _given(call, carrier):
            if parameter in carrier.texts:
                self._sentence(value, place, owner if name == "__init__" else "")

    def _sentence(self, value: ast.expr, place: Place, owner: str) -> None:
        """Collect what an expression that is said may be; a parameter makes its function a carrier."""
        for template in self._templates(value, place, owner, depth=0):
            self._add(template, place, value)

    def _add(self, template: str, place: Place, node: ast.expr) -> None:
        template = template.strip()
        if re.search(r"[A-Za-z]{2}", template.replace("{}", "")):
            self.found.setdefault(template, set()).add(f"{place.module}:{node.lineno}")

    def _templates(self, value: ast.expr, place: Place, owner: str, depth: int) -> list[str]:
        if depth > 6:
            return ["{}"]
        again = lambda each: self._templates(each, place, owner, depth + 1)  # noqa: E731
        if isinstance(value, ast.Constant):
            return [_escaped(value.value)] if isinstance(value.value, str) else ["{}"]
        if isinstance(value, ast.JoinedStr):
            return _joined([self._part(part, place, owner, depth) for part in value.values])
        if isinstance(value, ast.IfExp):
            return again(value.body) + again(value.orelse)
        if isinstance(value, ast.BoolOp):
            return [template for each in value.values for template in again(each)]
        if isinstance(value, ast.BinOp) and isinstance(value.op, ast.Add):
            return _joined([again(value.left), again(value.right)])
        if isinstance(value, ast.Name):
            return self._named(value.id, place, owner, depth)
        if isinstance(value, ast.Call):
            return self._returned(value, depth)
        if isinstance(value, ast.Subscript):
            return self._chosen(value, place, owner, depth)
        return ["{}"]

    def _chosen(self, value: ast.Subscript, place: Place, owner: str, depth: int) -> list[str]:
        """The values of a dictionary that is written out in the same function or in a module."""
        name = ast.unparse(value.value)
        local = [] if place.function is None else [one for known, one in _assignments(place.function) if known == name]
        chosen = local or [
            node.value
            for node in self.trees[place.module].body
            if isinstance(node, ast.Assign) and any(ast.unparse(target) == name for target in node.targets)
        ]
        inside = [each for one in chosen if isinstance(one, ast.Dict) for each in one.values]
        return [t for each in inside for t in self._templates(each, place, owner, depth + 1)] or ["{}"]

    def _part(self, part: ast.expr, place: Place, owner: str, depth: int) -> list[str]:
        """A piece of an f-string: literal text, a choice of literals, or a value; phrases in a value are collected."""
        if isinstance(part, ast.Constant):
            return [_escaped(str(part.value))]
        assert isinstance(part, ast.FormattedValue)
        if isinstance(part.value, ast.IfExp | ast.BoolOp | ast.Subscript) and part.conversion == -1:
            inside = self._templates(part.value, place, owner, depth + 1)
            return inside
        if isinstance(part.value, ast.Name | ast.Call) and part.conversion == -1:
            for phrase in self._templates(part.value, place, owner, depth + 1):
                if " " in phrase.strip() and phrase != "{}":
                    self._add(phrase, place, part.value)
        return ["{}"]

    def _named(self, name: str, place: Place, owner: str, depth: int) -> list[str]:
        function = place.function
        if function is None:
            return self._constant(name, place, depth)
        assigned = [value for target, value in _assignments(function) if target == name]
        if assigned:
            return [t for value in assigned for t in self._templates(value, place, owner, depth + 1)]
        names = [a.arg for a in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)]
        if name in names:
            key = owner if function.name == "__init__" else function.name
            if owner or ast.unparse(function.returns or ast.Constant(None)) in self.carriers:
                carrier = self.carriers.setdefault(key, Carrier([n for n in names if n not in ("self", "cls")]))
                carrier.texts.add(name)
            return ["{}"]
        return self._constant(name, place, depth)

    def _constant(self, name: str, place: Place, depth: int) -> list[str]:
        for module in (place.module, *self.trees):
            for node in self.trees[module].body:
                if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == name for t in node.targets):
                    return self._templates(node.value, Place(module, None), "", depth + 1)
        return ["{}"]

    def _returned(self, call: ast.Call, depth: int) -> list[str]:
        """What a function of the package may return, where that is text."""
        known = self.by_name.get(_called(call), []) if _called(call) != PLURAL else []
        if len(known) > 1:  # a method that several classes of one folder have, each in its own file
            known = [one for one in known if ast.unparse(one[1].returns or ast.Constant(None)) == "str"]
            known = known if len({module.rpartition("/")[0] for module, _ in known}) == 1 else []
        if not known or ast.unparse(known[0][1].returns or ast.Constant(None)) != "str":
            return ["{}"]
        out = []
        for module, function in known:
            for node in ast.walk(function):
                if isinstance(node, ast.Return) and node.value is not None:
                    out += self._templates(node.value, Place(module, function), "", depth + 1)
        return out or ["{}"]


def _called(call: ast.Call) -> str:
    function = call.func
    return (
        function.id if isinstance(function, ast.Name) else function.attr if isinstance(function, ast.Attribute) else ""
    )


def _given(call: ast.Call, carrier: Carrier) -> Iterator[tuple[str, ast.expr]]:
    yield from zip(carrier.parameters, call.args, strict=False)
    for keyword in call.keywords:
        if keyword.arg is not None:
            yield keyword.arg, keyword.value


def _assignments(function: Function) -> Iterator[tuple[str, ast.expr]]:
    for node in ast.walk(function):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                yield from _pairs(target, node.value)
        elif isinstance(node, ast.For) and ast.unparse(node.iter).endswith(".items()"):
            looped = ast.unparse(node.iter).removesuffix(".items()")
            yield from _pairs(node.target, ast.parse(f"(None, {looped}[0])", mode="eval").body)
        elif isinstance(node, ast.AnnAssign | ast.NamedExpr) and node.value is not None:
            yield from _pairs(node.target, node.value)


def _pairs(target: ast.expr, value: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    if isinstance(target, ast.Name):
        yield target.id, value
    elif isinstance(target, ast.Tuple):
        inside = value.elts if isinstance(value, ast.Tuple) else [ast.Constant(None)] * len(target.elts)
        for one, other in zip(target.elts, inside, strict=False):
            yield from _pairs(one, other)


def _escaped(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def _joined(parts: list[list[str]]) -> list[str]:
    return list(dict.fromkeys("".join(choice) for choice in product(*parts)))
