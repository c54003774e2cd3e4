"""Settings: frozen models filled from YAML and `key=value` overrides; an unknown key is an error.

The merged settings are written beside every result (`save`) and read back at inference (`load`).

    load(PredictorSettings, "explain.yaml", ["prompt=predict/full", "image.max_pixels=50176"])
"""

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError
from pydantic_core import to_jsonable_python

from gen_msa import manifest
from gen_msa.errors import UserError, describe_error, did_you_mean, user_errors
from gen_msa.jsonl import DuplicateKey, atomic_write


class Settings(BaseModel):
    """Base of every settings model: immutable, strict about its keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


S = TypeVar("S", bound=Settings)
MAX_YAML_VALUES = 100_000
"""Values of a YAML file; aliases of aliases can make billions of a few bytes."""
_MISSING = object()


def load(
    kind: type[S], path: str | Path | None = None, overrides: Iterable[str] = (), **values: Any
) -> S:
    """Load settings of class `kind` from a YAML file (or none) with dotted overrides on top.

    Args:
        kind: Settings class.
        path: YAML file; None for none.
        overrides: `key=value` items; the value is YAML. An entry of a list is addressed by its
            index: `data.0.source=posts.jsonl`.
        **values: Final values by field name, taken as they are.

    Returns:
        The validated settings.

    Raises:
        UserError: A key is unknown or a value invalid; the message names the key, the file and the
            nearest known key.
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
    """Validate a plain mapping as settings of class `kind`.

    Args:
        kind: Settings class.
        tree: Values by key.
        where: Source of the values, for the error message.

    Returns:
        The validated settings.

    Raises:
        UserError: A key is unknown or a value invalid.
    """
    try:
        return kind.model_validate(tree)
    except ValidationError as e:
        raise UserError("\n".join(_format_error(kind, err, where) for err in e.errors())) from None


def save(settings: Settings, path: Path) -> None:
    """Write the merged settings as YAML that `load` reads back to an equal object.

    Args:
        settings: Settings to write.
        path: YAML file, replaced if it exists.
    """
    text = yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    with atomic_write(path) as f:
        f.write(text.encode())


def content(value: Any) -> JsonValue:
    """Return what settings mean, wherever files lie: a path is a digest of what it leads to.

    For keys of the answer cache. The field `media_root` is left out: images count by their bytes.

    Args:
        value: Settings, or a value of theirs.

    Returns:
        Plain JSON.
    """
    if isinstance(value, BaseModel):
        names = type(value).model_fields
        return {name: content(getattr(value, name)) for name in names if name != "media_root"}
    if isinstance(value, Path):
        return manifest.content_digest(value)
    if isinstance(value, Mapping):
        return {str(k): content(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [content(v) for v in value]
    plain: JsonValue = to_jsonable_python(value)
    return plain


def flatten(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Flatten a tree of settings to dotted keys as `load` takes them.

    Args:
        tree: Nested mappings and lists; an empty one counts as a value.
        prefix: Prefix of every key, with its dot.

    Returns:
        Dotted key -> plain value.
    """
    pairs = tree.items() if isinstance(tree, Mapping) else enumerate(tree)
    values: dict[str, Any] = {}
    for key, value in pairs:
        if isinstance(value, Mapping | list) and value:
            values |= flatten(value, f"{prefix}{key}.")
        else:
            values[f"{prefix}{key}"] = value
    return values


def differences(previous: Mapping[str, Any], current: Mapping[str, Any]) -> list[str]:
    """List the keys whose values differ between two flat trees.

    Args:
        previous: Earlier values by dotted key.
        current: Present values by dotted key.

    Returns:
        One `key: VALUE then, VALUE now` per key that differs.
    """
    return [
        f"{key}: {_format_value(previous, key)} then, {_format_value(current, key)} now"
        for key in {**current, **previous}
        if previous.get(key, _MISSING) != current.get(key, _MISSING)
    ]


def _format_value(tree: Mapping[str, Any], key: str) -> str:
    """Format the value of a key, or say that it is not set."""
    if key not in tree:
        return "not set"
    value = tree[key]
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)


class _UniqueKeyLoader(yaml.SafeLoader):
    """Refuses a mapping that has a key twice, of which YAML's own loader takes the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key in (k for k, _ in node.value if isinstance(k, yaml.ScalarNode)):
            if key.value in seen:
                line = key.start_mark.line + 1
                raise DuplicateKey(f"the key {key.value!r} occurs twice (line {line})")
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _read_yaml(path: Path) -> dict[str, Any]:
    with user_errors(path, "cannot be read as YAML"):
        tree = parse_yaml(path.read_text(encoding="utf-8"))
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise UserError(f"{path} must hold a mapping of settings", hint="write key: value lines")
    return {str(key): value for key, value in tree.items()}


def parse_yaml(text: str) -> Any:
    """Parse YAML of plain values; what an alias repeats is a copy of its own.

    Args:
        text: The YAML.

    Returns:
        Mappings, lists and scalars.

    Raises:
        ValueError: It is not YAML, is nested too deeply, or has more than `MAX_YAML_VALUES` values
            with its aliases expanded.
        DuplicateKey: A mapping has a key twice.
    """
    try:
        return _copy_tree(yaml.load(text, _UniqueKeyLoader), itertools.count(1))  # noqa: S506
    except (yaml.YAMLError, RecursionError) as e:
        raise ValueError(describe_error(e)) from None


def _copy_tree(value: Any, counter: Iterator[int]) -> Any:
    """Copy a tree so that `&anchor` and `*anchor` are separate and an override changes one."""
    if next(counter) > MAX_YAML_VALUES:
        raise ValueError(f"it has more than {MAX_YAML_VALUES:,} values")
    if isinstance(value, dict):
        return {k: _copy_tree(v, counter) for k, v in value.items()}
    return [_copy_tree(v, counter) for v in value] if isinstance(value, list) else value


def _scalar(text: str) -> Any:
    try:
        return parse_yaml(text) if text else ""
    except DuplicateKey as e:
        raise UserError(f"{text[:200]!r}: {e}", hint="give the key one value") from None
    except ValueError:
        return text


def _set(tree: dict[str, Any], keys: list[str], value: Any, item: str) -> None:
    node: Any = tree
    for depth, key in enumerate(keys):
        key_or_index = _resolve_key(node, key, f"{item!r}: {'.'.join(keys[:depth])!r}")
        if depth == len(keys) - 1:
            node[key_or_index] = value
        node = node[key_or_index]


def _resolve_key(node: Any, key: str, where: str) -> Any:
    """Return the key or index of `key` in a mapping or list, adding an empty entry if needed."""
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
    if err["type"] == "value_error":  # from our own validator; pydantic prefixes its message
        return ": ".join(filter(None, (where, dotted, str(err["ctx"]["error"]))))
    if err["type"] != "extra_forbidden":
        return f"{where}: {dotted}: {err['msg']} (got {err['input']!r})"
    field_names = _fields_at(kind, path[:-1])
    return f"{where}: unknown key {dotted!r}: {did_you_mean(path[-1], field_names)}"


def _fields_at(kind: type[BaseModel], path: list[str]) -> list[str]:
    for name in path:
        if name.isdecimal():
            continue  # an entry of a list, whose model was found with the list
        field = kind.model_fields.get(name)
        inner = _model_in(field.annotation) if field else None
        if inner is None:
            return []
        kind = inner
    return list(kind.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """Return the settings model inside `Model`, `tuple[Model, ...]` or `Model | None`."""
    if get_origin(annotation) is None:
        is_model = isinstance(annotation, type) and issubclass(annotation, BaseModel)
        return annotation if is_model else None
    return next((m for a in get_args(annotation) if (m := _model_in(a))), None)
