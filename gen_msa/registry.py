"""Named parts of a package: found by their module's name, imported on first use.

Knows nothing of what is registered. A module of the package is a part when it uses the registry's
decorator at the start of a line (`@datasets.register`); every other module is a helper, whatever it
is called. The source is searched for that line, so that listing names imports no part. Parts in
other packages come by entry points and need no edit here.

    datasets: InstanceRegistry[Dataset]
    datasets = InstanceRegistry("dataset", "gen_msa.data", "gen_msa.datasets")
    datasets["mosi"]            # imports gen_msa/data/mosi.py, which has @datasets.register
"""

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
    """Parts of one kind, `T` (a protocol, or a type of it), by name."""

    def __init__(self, kind: str, package: str, group: str) -> None:
        """`package` is searched for parts, and `group` is that of other packages' entry points."""
        self.kind = kind
        self.package = package
        self.group = group
        self._parts: dict[str, T] = {}

    def names(self) -> list[str]:
        """Every name that can be had, sorted, without importing any part."""
        return sorted({*self._modules(), *self._table(), *self._entries()})

    def __contains__(self, name: object) -> bool:
        return name in self.names()

    def __getitem__(self, name: str) -> T:
        if name not in self._parts:
            self._import(name)
        if name not in self._parts:
            raise TypeError(f"importing {self.kind} {name!r} registered nothing under that name")
        return self._parts[name]

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
        """The part that an entry point names."""
        part: T = target
        return part

    def _table(self) -> Mapping[str, T]:
        """Parts that no module of their own stands for."""
        return {}

    def _modules(self) -> list[str]:
        paths = importlib.import_module(self.package).__path__
        return [m.name for m in pkgutil.iter_modules(paths) if not m.ispkg and _is_part(m)]

    def _entries(self) -> dict[str, EntryPoint]:
        return {e.name: e for e in entry_points(group=self.group)}


class Registry(BaseRegistry[T]):
    """Parts that are registered as they stand: classes and functions that are called with options.

    `T` is the protocol of such a class or function.
    """

    def register(self, part: T) -> T:
        """Register the one part of a module under the module's name; mypy checks it against `T`.

        Raises `TypeError` when the module has registered another.
        """
        self._add(str(part.__module__), part)
        return part


class InstanceRegistry(BaseRegistry[T]):
    """Parts without options: of each class that is registered, one instance is the part.

    `T` is the protocol of the instance.
    """

    def __init__(self, kind: str, package: str, group: str, catalog: str = "") -> None:
        """`catalog` is a module of the package; its `PARTS` maps further names to instances."""
        super().__init__(kind, package, group)
        self.catalog = catalog

    def register(self, part: type[T]) -> type[T]:
        """Make the one part of a module, under the module's name; mypy checks it against `T`.

        Raises `TypeError` when the module has registered another.
        """
        self._add(part.__module__, part())
        return part

    def _loaded(self, target: Any) -> T:
        """An entry point may name the class or an instance."""
        part: T = target() if isinstance(target, type) else target
        return part

    def _table(self) -> Mapping[str, T]:
        if not self.catalog:
            return {}
        parts: Mapping[str, T] = importlib.import_module(f"{self.package}.{self.catalog}").PARTS
        return parts


def _is_part(module: pkgutil.ModuleInfo) -> bool:
    # The finder of a folder reads the source without importing the module or its package.
    spec = module.module_finder.find_spec(module.name, None)
    source = getattr(spec and spec.loader, "get_source", lambda _: None)(module.name)
    return bool(source and _DECORATOR.search(source))
