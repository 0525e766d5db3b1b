"""Signatures of classes, read from their source: importing most parts costs seconds, for torch and Lightning.

What is read is exactly what importing gives, or nothing: wherever a source leaves room for doubt (a decorator, a
metaclass, a name bound in a branch, a base from elsewhere), there is no answer, and the caller imports.
`tests/config/test_declarations.py` compares both for every target of `conf/`.
"""

import ast
import builtins
import importlib
import importlib.util
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

READ = ("nas_lightning", "lightning")
"""Packages whose classes are read."""
_LIGHT = ("typing", "collections.abc", "datetime", "pathlib", "pydantic", "os")
"""Modules that annotations take names from and that cost nothing: they are imported."""
_TRANSPARENT = ("_defaults_from_env_vars",)
"""Decorators of constructors that keep the signature."""
_NEUTRAL_BASES = ("abc.ABC", "typing.Generic", "typing.Protocol")
"""Bases from elsewhere without a constructor."""
_OPAQUE = ("torch.nn.Module", "nn.Module")
"""Bases from elsewhere whose objects no value of a configuration is."""
Fields = dict[str, tuple[Any, bool]]
"""By argument, its annotation and True if it must be given."""


class _DoubtError(Exception):
    """The source does not settle the signature."""


def declared(target: str) -> tuple[Fields, bool] | None:
    """Return the arguments of a class' constructor, and True if it takes any others; None where that is in doubt.

    Classes of the packages that are read stand in annotations as empty ones, which hold no value of a configuration.

    >>> fields, _ = declared("nas_lightning.regularizers.PartialChannels")
    >>> [(name, required) for name, (_, required) in fields.items()]
    [('divisor', False)]
    """
    module, _, name = target.rpartition(".")
    if module.split(".")[0] not in READ:
        return None
    try:
        place, node = _definition(module, name)
        if not isinstance(node, ast.ClassDef):
            return None
        return _constructor(place, node) or ({}, False)
    except _DoubtError:
        return None


def constant(target: str, name: str) -> Any:
    """Return the value of a class attribute that is written as a literal; None where there is none, or in doubt."""
    for node in sources(target):
        for part in node.body:
            if isinstance(part, ast.AnnAssign) and part.value is not None and ast.unparse(part.target) == name:
                try:
                    return ast.literal_eval(part.value)
                except ValueError:
                    return None
    return None


def sources(target: str) -> Iterator[ast.ClassDef]:
    """Yield the definition of a class, then those of its bases, nearest first, up to where one is in doubt."""
    module, _, name = target.rpartition(".")
    if module.split(".")[0] not in READ:
        return
    try:
        pending = [_definition(module, name)]
        while pending:
            place, node = pending.pop(0)
            if not isinstance(node, ast.ClassDef):
                return
            yield node
            pending += _bases(place, node)
    except _DoubtError:
        return


@cache
def _source(module: str) -> ast.Module:
    """Return the parsed source of a module."""
    package, *below = module.split(".")
    found = importlib.util.find_spec(package)  # of a package itself: this imports nothing
    if found is None or found.origin is None:
        raise _DoubtError
    place = Path(found.origin).parent.joinpath(*below)
    for path in (place / "__init__.py", place.with_suffix(".py")):
        try:
            return ast.parse(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, SyntaxError):
            continue
    raise _DoubtError


@cache
def _bindings(module: str) -> dict[str, list[ast.AST]]:
    """Return the statements that bind each name of a module, in branches, too."""
    found: dict[str, list[ast.AST]] = {}
    pending: list[ast.AST] = list(_source(module).body)
    while pending:
        node = pending.pop()
        names: list[str] = []
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            names = [node.name]
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.asname or alias.name.split(".")[0] for alias in node.names]
        else:
            pending += ast.iter_child_nodes(node)
            if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign | ast.For | ast.With | ast.Delete):
                inner = [part for part in ast.walk(node) if isinstance(part, ast.Name)]
                names = [part.id for part in inner if isinstance(part.ctx, ast.Store | ast.Del)]
        for name in names:
            found.setdefault(name, []).append(node)
    return found


def _definition(module: str, name: str) -> tuple[str, ast.AST]:
    """Return the module that defines a name and the statement that does, through imports from module to module."""
    bound = _bindings(module).get(name, [])
    if len(bound) != 1 or bound[0] not in _source(module).body:
        raise _DoubtError
    node = bound[0]
    if not isinstance(node, ast.ImportFrom):
        return module, node
    if node.level or node.module is None or node.module.split(".")[0] not in READ:
        return module, node
    original = next(alias.name for alias in node.names if name in (alias.asname, alias.name))
    return _definition(node.module, original)


def _constructor(module: str, node: ast.ClassDef) -> tuple[Fields, bool] | None:
    """Return the arguments of the constructor of a class or of its bases; None if none has one."""
    own = {part.name: part for part in node.body if isinstance(part, ast.FunctionDef)}
    if node.keywords or "__new__" in own:
        raise _DoubtError
    if node.decorator_list:
        if "__init__" in own:
            raise _DoubtError
        return _fields(module, node), False
    if "__init__" in own:
        return _arguments(module, own["__init__"])
    inherited = [found for base in _bases(module, node) if (found := _constructor(*base)) is not None]
    if len(inherited) > 1:
        raise _DoubtError
    return inherited[0] if inherited else None


def _bases(module: str, node: ast.ClassDef) -> list[tuple[str, ast.ClassDef]]:
    """Return the bases of a class, each with its module, all of them in the packages that are read."""
    found = []
    for base in node.bases:
        name = base.value if isinstance(base, ast.Subscript) else base  # Generic[T]
        if not isinstance(name, ast.Name):
            raise _DoubtError
        if _imported(module, name.id) in _NEUTRAL_BASES:
            continue
        place, parent = _definition(module, name.id)
        if not isinstance(parent, ast.ClassDef):
            raise _DoubtError
        found.append((place, parent))
    return found


def _fields(module: str, node: ast.ClassDef) -> Fields:
    """Return the fields of a dataclass, those of its bases first; of a class without a decorator, those of its bases.

    Of several bases each has the fields of its own bases, too, and the first of them wins, as in `dataclasses`.
    """
    if len(node.decorator_list) > 1:
        raise _DoubtError
    found: Fields = {}
    for base in reversed(_bases(module, node)):
        found |= _fields(*base)
    for decorator in node.decorator_list:
        call = decorator if isinstance(decorator, ast.Call) else ast.Call(decorator, [], [])
        name = call.func.id if isinstance(call.func, ast.Name) else ""
        if _imported(module, name) != "dataclasses.dataclass" or {word.arg for word in call.keywords} - {
            "frozen",
            "kw_only",
        }:
            raise _DoubtError
        for part in node.body:
            if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name):
                if isinstance(part.value, ast.Call):  # field(…), which may be no argument
                    raise _DoubtError
                found[part.target.id] = (_evaluated(module, part.annotation), part.value is None)
    return found


def _arguments(module: str, function: ast.FunctionDef) -> tuple[Fields, bool]:
    """Return the arguments of a method but the first, and True if it takes any others by keyword."""
    given = function.args
    if given.posonlyargs or any(ast.unparse(decorator) not in _TRANSPARENT for decorator in function.decorator_list):
        raise _DoubtError
    missing = len(given.args) - len(given.defaults)
    arguments = [(argument, index < missing) for index, argument in enumerate(given.args)][1:]
    arguments += [
        (argument, default is None) for argument, default in zip(given.kwonlyargs, given.kw_defaults, strict=True)
    ]
    fields = {
        argument.arg: (Any if argument.annotation is None else _evaluated(module, argument.annotation), required)
        for argument, required in arguments
    }
    return fields, given.kwarg is not None


def _evaluated(module: str, annotation: ast.expr) -> Any:
    """Return an annotation as an object; text in it is a value of a Literal or an argument of a call."""
    plain = [
        part
        for node in ast.walk(annotation)
        if isinstance(node, ast.Call) or (isinstance(node, ast.Subscript) and ast.unparse(node.value) == "Literal")
        for part in ast.walk(node)
    ]
    names = set()
    for node in ast.walk(annotation):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in plain:
            raise _DoubtError  # the name of a class, which may not be known yet
        if isinstance(node, ast.Name):
            names.add(node.id)
    code = compile(ast.Expression(annotation), module, "eval")
    try:
        return eval(code, {name: _value(module, name) for name in names})  # an expression of an installed package
    except (TypeError, AttributeError) as error:  # an empty class takes no arguments, Tensor[int]
        raise _DoubtError from error


@cache
def _value(module: str, name: str) -> Any:
    """Return the object that a name stands for in an annotation."""
    if name not in _bindings(module):
        if not hasattr(builtins, name):
            raise _DoubtError
        return getattr(builtins, name)
    place, node = _definition(module, name)
    if isinstance(node, ast.ClassDef):
        _require_opaque(place, node)
        return type(node.name, (), {})
    if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
        return _evaluated(place, node.value)
    if isinstance(node, ast.ImportFrom) and node.module is not None and node.module in _LIGHT:
        original = next(alias.name for alias in node.names if name in (alias.asname, alias.name))
        return getattr(importlib.import_module(node.module), original)
    raise _DoubtError


def _require_opaque(module: str, node: ast.ClassDef) -> None:
    """Refuse a class that a value of a configuration may fit: a dataclass, a model, an enumeration, a text."""
    if node.decorator_list or node.keywords:
        raise _DoubtError
    for base in node.bases:
        name = base.value if isinstance(base, ast.Subscript) else base
        if isinstance(name, ast.Attribute) and ast.unparse(name) in _OPAQUE:
            continue
        if not isinstance(name, ast.Name):
            raise _DoubtError
        if _imported(module, name.id) in (*_NEUTRAL_BASES, *_OPAQUE):
            continue
        place, parent = _definition(module, name.id)
        if not isinstance(parent, ast.ClassDef):
            raise _DoubtError
        _require_opaque(place, parent)


def _imported(module: str, name: str) -> str:
    """Return the dotted name that a `from … import …` of a module gives to a name, or an empty text."""
    bound = _bindings(module).get(name, [])
    if len(bound) != 1 or not isinstance(bound[0], ast.ImportFrom):
        return ""
    original = next(alias.name for alias in bound[0].names if name in (alias.asname, alias.name))
    return f"{bound[0].module}.{original}"
