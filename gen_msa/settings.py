"""Settings: frozen models filled from YAML and `key=value` overrides; an unknown key is an error.

Knows nothing of what is set. The merged settings are written beside every result (`save`) and read
back at inference (`load`).

    load(ExplainSettings, "explain.yaml", ["prompt=reader/full", "picture.max_pixels=50176"])
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from gen_msa.errors import UserError, did_you_mean


class Settings(BaseModel):
    """Base of every settings model: immutable, strict about its keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


S = TypeVar("S", bound=Settings)
_NONE = object()


def load(
    kind: type[S], path: str | Path | None = None, overrides: Iterable[str] = (), **values: Any
) -> S:
    """Settings of `kind` from a YAML file (or none) with dotted `key=value` overrides on top.

    An entry of a list is named by its number: `data.0.source=posts.jsonl`. `fixed` are taken as
    they stand, not as YAML. Raises `UserError` naming the key, the file and the nearest known key.
    """
    tree: dict[str, Any] = {}
    if path is not None:
        tree = _read_yaml(Path(path))
    for item in overrides:
        key, equals, value = item.partition("=")
        if not equals:
            raise UserError(f"{item!r} is not key=value", hint="write e.g. workers=2")
        _set(tree, key.strip().split("."), _scalar(value), item)
    return build(kind, {**tree, **values}, str(path or "the command line"))


def build(kind: type[S], tree: Mapping[str, Any], where: str) -> S:
    """Validate a plain mapping as settings of `kind`; `where` is named in the error."""
    try:
        return kind.model_validate(tree)
    except ValidationError as e:
        raise UserError("\n".join(_format_error(kind, err, where) for err in e.errors())) from None


def save(settings: Settings, path: Path) -> None:
    """Write the merged settings as YAML that `load` reads back to an equal object."""
    text = yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    path.write_text(text, encoding="utf-8")


def flat(tree: Any, above: str = "") -> dict[str, Any]:
    """A tree of settings as dotted key -> plain value, the keys as `load` takes them.

    An empty mapping or list is a value.
    """
    pairs = tree.items() if isinstance(tree, Mapping) else enumerate(tree)
    found: dict[str, Any] = {}
    for key, value in pairs:
        if isinstance(value, Mapping | list) and value:
            found |= flat(value, f"{above}{key}.")
        else:
            found[f"{above}{key}"] = value
    return found


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """`key: VALUE then, VALUE now` for each key of two flat trees whose values are not the same."""
    return [
        f"{key}: {_shown(then, key)} then, {_shown(now, key)} now"
        for key in {**now, **then}
        if then.get(key, _NONE) != now.get(key, _NONE)
    ]


def _shown(tree: Mapping[str, Any], key: str) -> str:
    """A value as it is given, or what says that there is none."""
    if key not in tree:
        return "not set"
    value = tree[key]
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as e:
        raise UserError(f"{path} cannot be read as YAML: {e}") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise UserError(f"{path} must hold a mapping of settings", hint="write key: value lines")
    return {str(key): _copy_tree(value) for key, value in tree.items()}


def _copy_tree(value: Any) -> Any:
    """A copy in which `&anchor` and `*anchor` are two things, so that an override changes one."""
    if isinstance(value, dict):
        return {k: _copy_tree(v) for k, v in value.items()}
    return [_copy_tree(v) for v in value] if isinstance(value, list) else value


def _scalar(text: str) -> Any:
    try:
        return yaml.safe_load(text) if text else ""
    except yaml.YAMLError:
        return text


def _set(tree: dict[str, Any], keys: list[str], value: Any, item: str) -> None:
    node: Any = tree
    for depth, key in enumerate(keys):
        key_or_index = _resolve_key(node, key, f"{item!r}: {'.'.join(keys[:depth])!r}")
        if depth == len(keys) - 1:
            node[key_or_index] = value
        node = node[key_or_index]


def _resolve_key(node: Any, key: str, where: str) -> Any:
    """Where `key` lies in a mapping or list, made if it is not there yet."""
    if isinstance(node, dict):
        node.setdefault(key, {})
        return key
    if not isinstance(node, list):
        raise UserError(f"{where} has no keys below it")
    if not key.isdecimal() or int(key) > len(node):
        raise UserError(
            f"{where} is a list of {len(node)}, which has no {key!r}",
            hint="number its entries from 0; the next free number adds one",
        )
    if int(key) == len(node):
        node.append({})
    return int(key)


def _format_error(kind: type[BaseModel], err: Any, where: str) -> str:
    path = [str(p) for p in err["loc"]]
    dotted = ".".join(path)
    if err["type"] == "value_error":  # what a check of ours says; pydantic puts its own word before
        return ": ".join(filter(None, (where, dotted, str(err["ctx"]["error"]))))
    if err["type"] != "extra_forbidden":
        return f"{where}: {dotted}: {err['msg']} (got {err['input']!r})"
    field_names = _fields_at(kind, path[:-1])
    return f"{where}: unknown key {dotted!r}: {did_you_mean(path[-1], field_names)}"


def _fields_at(kind: type[BaseModel], path: list[str]) -> list[str]:
    for name in path:
        if name.isdecimal():
            continue  # an entry of a list, whose kind was found with the list
        field = kind.model_fields.get(name)
        inner = _model_in(field.annotation) if field else None
        if inner is None:
            return []
        kind = inner
    return list(kind.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The settings model inside `Model`, `tuple[Model, ...]` or `Model | None`."""
    if get_origin(annotation) is None:
        is_model = isinstance(annotation, type) and issubclass(annotation, BaseModel)
        return annotation if is_model else None
    return next((m for a in get_args(annotation) if (m := _model_in(a))), None)
