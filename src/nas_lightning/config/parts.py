"""Checks of parts against the signatures of their targets, and problems as messages.

A part (any section with a `_target_`) is described by its own constructor: the annotations and `Field` ranges are read
from it, so that users' own parts are checked exactly as ours are.
"""

import difflib
import functools
import importlib
import inspect
import json
import operator
import sys
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, create_model
from pydantic_core import PydanticCustomError

from nas_lightning.config.aliases import current
from nas_lightning.config.declarations import Fields, declared
from nas_lightning.core.errors import ConfigError

Model = TypeVar("Model", bound=BaseModel)

TRUSTED = ("nas_lightning", "torch", "torchvision", "torchmetrics", "lightning")
"""Packages whose targets are allowed without being named in `trusted`."""
CODE_LOADERS = (
    "torch.hub",
    "torch.serialization",
    "torch.package",
    "torch.jit._serialization",
    "torch.utils.cpp_extension",
    "torch.utils.collect_env",
    "torch.utils.bottleneck",
    "torch.distributed",
    "torch.multiprocessing",
    "torch._inductor",
)
"""Modules of trusted packages whose functions run code from a file, an address or a string."""
FILLED = ("costs", "run")
"""Names of arguments that the workbench fills in with objects of the run, which no configuration can give."""


def target_of(path: str, part: Mapping[str, Any], trusted: tuple[str, ...] = ()) -> Callable[..., Any]:
    """Import the object that `_target_` names.

    Raises:
        ConfigError: There is no target, it comes from a package that is not trusted, or it does not exist.
    """
    target = part.get("_target_")
    if not isinstance(target, str):
        added = "." in path  # one of a list of parts, which has no such key yet
        out = f", or ~{path} to leave it out" if added else ""
        sign = "+" if added else ""
        raise ConfigError(
            f"{path}: has no _target_, the class to build; write {sign}{path}._target_=package.Class{out}"
        )
    target = current(target)
    if "__" in target:
        raise ConfigError(f"{path}._target_={target}: names with __ are not allowed; give a class or function")
    _require_trust(path, target, target, trusted)
    module: str = target
    names: list[str] = []
    while "." in module:
        module, name = module.rsplit(".", 1)
        names.insert(0, name)
        try:
            found: Any = importlib.import_module(module)
        except ImportError as error:
            if isinstance(error, ModuleNotFoundError) and error.name is not None and module.startswith(error.name):
                continue
            raise ConfigError(
                f"{path}._target_={target}: importing it failed ({error}); CHANGELOG.md lists names that have moved"
            ) from error
        for name in names:
            found = getattr(found, name, None)
            if inspect.ismodule(found):  # possibly an untrusted module that a trusted one imports
                _require_trust(path, target, found.__name__, trusted)
        if callable(found):
            if inspect.isclass(found) or inspect.isroutine(found):
                place = getattr(found, "__module__", None) or target
                _require_trust(path, target, place, trusted)
            return found
        break
    raise ConfigError(f"{path}._target_={target}: no such class or function")


def _require_trust(path: str, target: str, place: str, trusted: tuple[str, ...]) -> None:
    """Refuse a target that is not defined in a trusted package, under whatever name it is imported.

    Raises:
        ConfigError: It is defined elsewhere, or it loads code.
    """
    package = place.split(".", 1)[0]
    where = "" if target == place else f" (it is part of {place})"
    if package not in (*TRUSTED, *trusted):
        allowed = ", ".join((*TRUSTED, *trusted))
        raise ConfigError(
            f"{path}._target_={target}{where}: targets come from {allowed}; allow this package with"
            f" trusted=[{','.join((*trusted, package))}]"
        )
    if any(place == module or place.startswith(f"{module}.") for module in CODE_LOADERS):
        raise ConfigError(f"{path}._target_={target}{where}: refused, it runs code from a file; import it in a module")


def check_part(
    path: str, part: Mapping[str, Any], trusted: tuple[str, ...] = (), shared: type[BaseModel] | None = None
) -> list[str]:
    """Bind a part to the signature of its target; return the problems."""
    try:
        model = model_of(path, part, trusted, shared)
    except ConfigError as error:
        return [str(error)]
    given = {key: value for key, value in part.items() if not (key.startswith("_") and key.endswith("_"))}
    problems: list[str] = []
    for key, value in part.items():
        problems += _check_nested(f"{path}.{key}", value, trusted)
    return problems + problems_of(model, given, path)


def model_of(
    path: str, part: Mapping[str, Any], trusted: tuple[str, ...], shared: type[BaseModel] | None
) -> type[BaseModel]:
    """Return the model of a part's arguments, without importing its target where the source gives them.

    Raises:
        ConfigError: As `target_of`.
    """
    target = part.get("_target_")
    if isinstance(target, str) and "__" not in target:
        target = current(target)
        if target.rpartition(".")[0] not in sys.modules:
            model = declared_model(target, shared)
            if model is not None:
                return model
    return signature_model(target_of(path, part, trusted), shared)


def _check_nested(path: str, value: Any, trusted: tuple[str, ...]) -> list[str]:
    """Check every part inside a value, also inside lists and plain sections; return the problems."""
    if isinstance(value, Mapping):
        if "_target_" in value:
            return check_part(path, value, trusted)
        return [problem for key, inner in value.items() for problem in _check_nested(f"{path}.{key}", inner, trusted)]
    if isinstance(value, list):
        return [p for index, inner in enumerate(value) for p in _check_nested(f"{path}.{index}", inner, trusted)]
    return []


@cache
def signature_model(target: Callable[..., Any], shared: type[BaseModel] | None = None) -> type[BaseModel]:
    """Return a pydantic model with a field for each argument of `target`, types and ranges from its annotations.

    Args:
        target: Class or function.
        shared: Model of further fields, allowed for every target of the section.
    """
    init = target.__init__ if inspect.isclass(target) else target
    try:
        hints = typing.get_type_hints(init, include_extras=True)
    except (NameError, TypeError):
        hints = {}
    fields: Fields = {}
    open_ended = False
    for name, parameter in inspect.signature(target).parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            open_ended = True
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            continue
        fields[name] = (hints.get(name, Any), parameter.default is parameter.empty)
    return _arguments_model(fields, open_ended, shared)


@cache
def declared_model(target: str, shared: type[BaseModel] | None = None) -> type[BaseModel] | None:
    """Return what `signature_model` returns for the class of this name, without importing it; None where in doubt."""
    found = declared(target)
    return None if found is None else _arguments_model(*found, shared)


def _arguments_model(fields: Fields, open_ended: bool, shared: type[BaseModel] | None) -> type[BaseModel]:
    arguments: dict[str, Any] = {
        # The default matters to nobody: values are checked, not completed.
        name: (_checkable(annotation), ... if required else None)
        for name, (annotation, required) in fields.items()
    }
    for name in FILLED:
        if name in arguments and _holds_objects(arguments[name][0]):
            del arguments[name]
            if open_ended:  # unknown keys pass there
                arguments[name] = (Annotated[Any, BeforeValidator(_refuse_filled)], None)
    for name, field in (shared.model_fields if shared else {}).items():
        arguments.setdefault(name, (field.rebuild_annotation(), field.default))
    config = ConfigDict(
        extra="allow" if open_ended else "forbid",
        strict=True,
        allow_inf_nan=False,
        arbitrary_types_allowed=True,
        protected_namespaces=(),
    )
    return create_model("Arguments", __config__=config, **arguments)


def _is_section(value: Any) -> Any:
    """Refuse a bare value for an object, which needs a part, a list of parts or a section of named ones."""
    if not isinstance(value, Mapping | list):
        raise PydanticCustomError("part_type", "must be a part, with a _target_ of its own")
    return value


_Built = Annotated[Any, BeforeValidator(_is_section)]


def _refuse_filled(value: Any) -> Any:
    """Refuse any value: the workbench gives it."""
    raise PydanticCustomError("filled_in", "is filled in by the run")


def _holds_objects(checkable: Any) -> bool:
    """Return whether an annotation, as `_checkable` returns it, holds built objects only, or none."""
    return checkable == _Built or {*typing.get_args(checkable)} == {_Built, types.NoneType}


def _checkable(annotation: Any) -> Any:
    """Return the annotation with `_Built` for types that JSON cannot express (a nested part, a user's class)."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return functools.reduce(operator.or_, map(_checkable, typing.get_args(annotation)))
    try:
        create_model(
            "Probe",
            __config__=ConfigDict(strict=True, arbitrary_types_allowed=False),
            value=(annotation, ...),
        ).model_json_schema()
    except Exception:  # pydantic cannot express it
        if typing.get_origin(annotation) is Annotated:
            return _checkable(typing.get_args(annotation)[0])
        return _Built
    return annotation


def problems_of(model: type[BaseModel], values: Mapping[str, Any], path: str = "") -> list[str]:
    """Check values against a model; return problems as `key=value: problem; fix`. Arguments as for `parse`."""
    return parse(model, values, path)[1]


def parse(model: type[Model], values: Mapping[str, Any], path: str = "") -> tuple[Model | None, list[str]]:
    """Read values as a model; return it, and the problems as `key=value: problem; fix` where it is None.

    Args:
        model: Schema of the values.
        values: Plain lists, dictionaries and scalars.
        path: Dotted key of the values in the configuration.
    """
    try:
        return model.model_validate_json(json.dumps(values)), []
    except ValidationError as error:
        found: dict[tuple[str, str], list[str]] = {}
        for problem in error.errors():
            key, text, hint = _describe(problem, values, model, f"{path}." if path else "")
            found.setdefault((key, hint), []).append(text)
        # pydantic reports each branch of a union by itself: join them into one sentence.
        return None, [f"{key}: {' or '.join(dict.fromkeys(texts))}{hint}" for (key, hint), texts in found.items()]


def _describe(problem: Any, values: Mapping[str, Any], model: type[BaseModel], prefix: str) -> tuple[str, str, str]:
    """Return (key=value, problem or allowed values, fix)."""
    kind, context = problem["type"], problem.get("ctx", {})
    location, value = _locate(problem["loc"], values, absent=kind == "missing")
    key = prefix + ".".join(location)
    if kind == "missing":
        return key, "is missing", f"; give it on the command line: {key}=VALUE"
    shown = value if isinstance(value, str | int | float) and not isinstance(value, bool) else json.dumps(value)
    if kind == "extra_forbidden":
        names = list(_fields_at(model, location[:-1]))
        near = difflib.get_close_matches(location[-1], names, n=1)
        hint = f"did you mean {prefix}{'.'.join([*location[:-1], *near])}?" if near else f"allowed: {', '.join(names)}"
        return f"{key}={shown}", "unknown key", f"; {hint}"
    words = {
        "greater_than": "must be greater than {gt}",
        "greater_than_equal": "must be at least {ge}",
        "less_than": "must be less than {lt}",
        "less_than_equal": "must be at most {le}",
        "multiple_of": "must be a multiple of {multiple_of}",
        "too_short": "must have {min_length} at least",
        "literal_error": "allowed: {expected}",
        "int_type": "must be a whole number",
        "int_from_float": "must be a whole number",
        "float_type": "must be a number",
        "finite_number": "must be finite",
        "bool_type": "must be true or false",
        "string_type": "must be text",
        "time_delta_type": "a duration, 00:12:00:00 (days, hours, minutes, seconds)",
        "list_type": "must be a list, [a,b]",
        "dict_type": "must be a section of keys",
        "model_type": "must be a section of keys",
        "none_required": "null",
    }
    text = words[kind].format(**context) if kind in words else problem["msg"]
    if kind == "filled_in":
        return f"{key}={shown}", text, "; leave it out"
    if kind == "part_type":
        return f"{key}={shown}", text, f"; write {key}._target_=package.Class"
    if key in _OPTIONS_ELSEWHERE and isinstance(value, str):
        return f"{key}={shown}", text, f"; to choose an option write {_OPTIONS_ELSEWHERE[key]}@{key}={shown}"
    example = f"[{shown}]" if kind == "list_type" and isinstance(value, str) and "," not in value else "VALUE"
    return f"{key}={shown}", text, f"; write {key}={example}"


_OPTIONS_ELSEWHERE = {
    "candidates.evaluation": "evaluation",
    "candidates.proposer": "proposer",
    "candidates.screen": "proxy",
}
"""Parts that are chosen among the options of a group at the top, which it names."""


def _locate(loc: Sequence[int | str], values: Mapping[str, Any], absent: bool) -> tuple[list[str], Any]:
    """Return the path of a problem, without pydantic's names for the branches of a union, and the value there."""
    location: list[str] = []
    node: Any = values
    for part in loc:
        if isinstance(node, Mapping) and (part in node or (absent and part == loc[-1])):
            node = node.get(str(part))
        elif isinstance(node, list):
            break  # the command line can only replace the whole list
        else:
            continue
        location.append(str(part))
    return location, node


def _fields_at(model: type[BaseModel], location: list[str]) -> Mapping[str, Any]:
    for name in location:
        annotation = model.model_fields[name].annotation if name in model.model_fields else None
        if not (inspect.isclass(annotation) and issubclass(annotation, BaseModel)):
            return {}
        model = annotation
    return model.model_fields
