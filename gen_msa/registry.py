"""A name is a file: parts of a room are found by their module's name and imported on first use.

Knows nothing of what is registered. Names come from the room's folder (files that do not start with
`_`) and from entry points, so that a newcomer's part in another package needs no edit here.

    datasets: Registry[Dataset] = Registry("dataset", "gen_msa.data", "gen_msa.datasets")
    datasets["mams"]            # imports gen_msa/data/mams.py, which calls datasets.register(...)
"""

import importlib
import pkgutil
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar

from gen_msa.errors import UserError, did_you_mean

T = TypeVar("T")


class Registry(Generic[T]):
    """Parts of one kind, `T` (a protocol, or a type of it), by name."""

    def __init__(self, kind: str, package: str, group: str) -> None:
        self.kind = kind
        self.package = package
        self.group = group
        self._parts: dict[str, T] = {}

    def register(self, part: T) -> T:
        """Register the one part of a module under the module's name; mypy checks it against `T`."""
        module = getattr(part, "__module__", type(part).__module__)
        name = module.rpartition(".")[2]
        if self._parts.setdefault(name, part) is not part:
            raise TypeError(f"{module} registers two {self.kind}s; a name is a file: split it")
        return part

    def names(self) -> list[str]:
        """Every name that can be had, sorted, without importing any of them."""
        return sorted({*self._files(), *self._entries()})

    def __contains__(self, name: object) -> bool:
        return name in self.names()

    def __getitem__(self, name: str) -> T:
        if name not in self._parts:
            self._import(name)
        if name not in self._parts:
            raise TypeError(f"importing {self.kind} {name!r} registered nothing under that name")
        return self._parts[name]

    def _import(self, name: str) -> None:
        entries = self._entries()
        if name in self._files():
            importlib.import_module(f"{self.package}.{name}")
        elif name in entries:
            part: T = entries[name].load()
            self._parts.setdefault(name, part)
        else:
            raise UserError(f"no {self.kind} named {name!r}", mend=did_you_mean(name, self.names()))

    def _files(self) -> list[str]:
        paths = importlib.import_module(self.package).__path__
        found = pkgutil.iter_modules(paths)
        return [m.name for m in found if not m.name.startswith("_") and not m.ispkg]

    def _entries(self) -> dict[str, EntryPoint]:
        return {e.name: e for e in entry_points(group=self.group)}
