"""One reader in a process of its own, on whatever machine Ray put it.

What it reads must be what the driver sees: the same posts, the same pictures' bytes, the same
reader; each is compared by the ledger's own key before anything is asked. What a user can mend
comes back as `Stop`, not as Ray's traceback. Imports no Ray.

    desk = Desk(settings, root, Path.cwd()); desk.open(); desk.read(examples, keys)
"""

import os
import platform
import threading
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

from pydantic import JsonValue

from gen_msa.annotation.settings import JobSettings
from gen_msa.annotation.workers import Teacher, cache_key, make_teacher
from gen_msa.answer_cache import hash_key
from gen_msa.errors import UserError
from gen_msa.predictors import Prediction, RequestPreview
from gen_msa.types import Example


class Stop(NamedTuple):
    """A `UserError` on its way between processes."""

    problem: str
    mend: str

    def error(self) -> UserError:
        """The error, to be raised by the driver."""
        return UserError(self.problem, hint=self.mend)


class Desk:
    """A teacher, made where it works."""

    def __init__(self, settings: JobSettings, root: Path, folder: Path) -> None:
        """`folder` is where the driver stands: relative paths of the settings begin there."""
        self._settings = settings
        self._root = root
        self._folder = folder
        self._teacher: Teacher | None = None
        self._key = ""
        self._asking = threading.Lock()

    def open(self) -> dict[str, JsonValue] | Stop:
        """Load the models; returns the reader's fingerprint."""
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
        try:
            if self._folder.is_dir():
                os.chdir(self._folder)
            self._teacher = make_teacher(self._settings, self._root)
            facts = self._teacher.fingerprint()
        except UserError as e:
            return Stop(f"on {platform.node()}: {e.problem}", e.hint)
        self._key = hash_key(facts)
        return facts

    def read(self, examples: Sequence[Example], keys: Sequence[str]) -> list[Prediction] | Stop:
        """One reading an example. `keys` are the driver's.

        Called in two threads: while one asks the model, the other makes its posts ready, or asks
        too where the model is a server's.
        """
        for example, wanted in zip(examples, keys, strict=True):
            if cache_key(self._key, example, self._root, self._settings) != wanted:
                return Stop(
                    f"post {example.post.id!r} is not on {platform.node()} what it is here: its "
                    "pictures are others or missing",
                    "put the pictures on a path that all machines share: --media-root",
                )
        try:
            teacher = self._at_work()
            finish = teacher.prepare(examples)
            with nullcontext() if teacher.is_concurrent else self._asking:
                return finish()
        except UserError as e:
            return Stop(e.problem, e.hint)

    def preview(self, examples: Sequence[Example]) -> list[RequestPreview] | Stop:
        """The questions about the examples, unasked."""
        try:
            return self._at_work().preview(examples)
        except UserError as e:
            return Stop(e.problem, e.hint)

    def _at_work(self) -> Teacher:
        if self._teacher is None:
            raise RuntimeError("a desk is opened before it is asked")
        return self._teacher
