"""Registries: parts of a package, found by module name and imported on first use.

A module of the package is a part when it uses the registry's decorator at the start of a line
(`@datasets.register`); every other module is a helper. The source is searched for that line, so
listing names imports no part. Other packages add parts by entry points.

    datasets: InstanceRegistry[Dataset]
    datasets = InstanceRegistry("dataset", "gen_msa.data", "gen_msa.datasets")
    datasets["mosi"]            # imports gen_msa/data/mosi.py, which has @datasets.register
"""

import ast
import importlib
import pkgutil
import re
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

from gen_msa.errors import UserError, did_you_mean

T = TypeVar("T")

_DECORATOR = re.compile(r"^@\w+\.register$", re.MULTILINE)


class BaseRegistry(Generic[T]):
    """Parts of one kind by name; `T` is a protocol or a type of it."""

    def __init__(self, kind: str, package: str, group: str) -> None:
        """Describe where parts are found.

        Args:
            kind: Name of a part in error messages, e.g. `dataset`.
            package: Package whose modules are searched.
            group: Entry-point group by which other packages add parts.
        """
        self.kind = kind
        self.package = package
        self.group = group
        self._parts: dict[str, T] = {}

    def names(self) -> list[str]:
        """Return every known name, sorted, without importing any part."""
        return sorted({*self._modules(), *self._table(), *self._entries()})

    def __contains__(self, name: object) -> bool:
        return name in self.names()

    def __getitem__(self, name: str) -> T:
        if name not in self._parts:
            self._import(name)
        if name not in self._parts:
            raise TypeError(f"importing {self.kind} {name!r} registered nothing under that name")
        return self._parts[name]

    def literals(self, attribute: str) -> dict[str, Any]:
        """Return the value of a class attribute for each part that has it.

        Parts of the package are not imported: the value is read from their source, where it must
        be a literal. Parts of other packages are imported.

        Args:
            attribute: Name of the attribute, e.g. `suffixes`.
        """
        found = {
            name: value
            for name in {*self._table(), *self._entries()}
            if (value := getattr(self[name], attribute, None)) is not None
        }
        for module in self._part_infos():
            value = _literal(_source(module), attribute)
            if value is not None:
                found[module.name] = value
        return dict(sorted(found.items()))

    def _add(self, module: str, part: T) -> None:
        name = module.rpartition(".")[2]
        if self._parts.setdefault(name, part) is not part:
            raise TypeError(f"{module} registers two {self.kind}s; a name is a file: split it")

    def _import(self, name: str) -> None:
        table, entries = self._table(), self._entries()
        if name in self._modules():
            importlib.import_module(f"{self.package}.{name}")
        elif name in table:
            self._parts[name] = table[name]
        elif name in entries:
            self._parts.setdefault(name, self._loaded(entries[name].load()))
        else:
            raise UserError(f"no {self.kind} named {name!r}", hint=did_you_mean(name, self.names()))

    def _loaded(self, target: Any) -> T:
        """Return the part that an entry point names."""
        part: T = target
        return part

    def _table(self) -> Mapping[str, T]:
        """Return parts that have no module of their own."""
        return {}

    def _modules(self) -> list[str]:
        return [m.name for m in self._part_infos()]

    def _part_infos(self) -> list[pkgutil.ModuleInfo]:
        paths = importlib.import_module(self.package).__path__
        return [m for m in pkgutil.iter_modules(paths) if not m.ispkg and _is_part(m)]

    def _entries(self) -> dict[str, EntryPoint]:
        return {e.name: e for e in entry_points(group=self.group)}


class Registry(BaseRegistry[T]):
    """Registry of classes and functions that callers call with options.

    `T` is the protocol of such a class or function.
    """

    def register(self, part: T) -> T:
        """Register the one part of a module under the module's name.

        mypy checks the part against `T`.

        Raises:
            TypeError: The module has already registered another part.
        """
        self._add(str(part.__module__), part)
        return part


class InstanceRegistry(BaseRegistry[T]):
    """Registry of classes without options: one instance of each class is the part.

    `T` is the protocol of the instance.
    """

    def __init__(self, kind: str, package: str, group: str, catalog: str = "") -> None:
        """Describe where parts are found, and a catalog of further instances.

        Args:
            kind: Name of a part in error messages.
            package: Package whose modules are searched.
            group: Entry-point group by which other packages add parts.
            catalog: Module of the package whose `PARTS` maps further names to instances; "" for
                none.
        """
        super().__init__(kind, package, group)
        self.catalog = catalog

    def register(self, part: type[T]) -> type[T]:
        """Create the one part of a module under the module's name.

        mypy checks the part against `T`.

        Raises:
            TypeError: The module has already registered another part.
        """
        self._add(part.__module__, part())
        return part

    def _loaded(self, target: Any) -> T:
        """Return the part of an entry point that names a class or an instance."""
        part: T = target() if isinstance(target, type) else target
        return part

    def _table(self) -> Mapping[str, T]:
        if not self.catalog:
            return {}
        parts: Mapping[str, T] = importlib.import_module(f"{self.package}.{self.catalog}").PARTS
        return parts


def _is_part(module: pkgutil.ModuleInfo) -> bool:
    return bool(_DECORATOR.search(_source(module)))


def _source(module: pkgutil.ModuleInfo) -> str:
    # The path finder reads the source without importing the module or its package.
    spec = module.module_finder.find_spec(module.name, None)
    source = getattr(spec and spec.loader, "get_source", lambda _: None)(module.name)
    return source or ""


def _literal(source: str, attribute: str) -> Any:
    """Return the literal that a class of a module assigns to an attribute; None if there is none.

    Args:
        source: Source of the module.
        attribute: Name of the attribute.
    """
    if attribute not in source:
        return None
    classes = (n for n in ast.parse(source).body if isinstance(n, ast.ClassDef))
    for node in (n for c in classes if c.decorator_list for n in c.body):
        if isinstance(node, ast.AnnAssign):
            targets: list[ast.expr] = [node.target]
        elif isinstance(node, ast.Assign):
            targets = node.targets
        else:
            continue
        if node.value and any(isinstance(t, ast.Name) and t.id == attribute for t in targets):
            return ast.literal_eval(node.value)
    return None
