"""A Ray cluster and the models on it: one that runs, or one of this job's own on this machine.

Ray's protocol lets whoever reaches it run code. A cluster of our own listens on loopback only,
behind a token, without dashboard and usage reports.

    with RayPredictor(JobSettings(model="echo", engine="ray"), root) as model: model.fingerprint()
"""

import logging
import os
import secrets
import shutil
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self, TypeVar

from pydantic import JsonValue

from gen_msa.annotation.ray_state import JobState, RayJobStatus
from gen_msa.annotation.ray_worker import RayWorker
from gen_msa.annotation.settings import JobSettings
from gen_msa.errors import MissingExtra, UserError, require_posix
from gen_msa.predictors import Continuation, Prediction, RequestPreview
from gen_msa.types import Example

OBJECT_STORE = 256 << 20
"""Bytes of shared memory for a cluster of our own: batches of posts are small."""
T = TypeVar("T")
_AUTO_START = "RAY_ENABLE_AUTO_CONNECT"
_LOOPBACK = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""Set to 0, Ray allows no second machine, and all its servers listen on loopback."""


def connect(settings: JobSettings) -> tuple[Any, bool]:
    """Import Ray and connect to the cluster of `settings.address`, or start one here.

    Returns:
        The module `ray`, connected, and whether the connection is ours to close.

    Raises:
        UserError: Nothing listens at the address, Ray was imported too early to be private, or
            this is Windows.
        MissingExtra: Ray is not installed.
    """
    require_posix("engine=ray", hint="use workers=N, or run the job on Linux or macOS")
    imported_before = "ray" in sys.modules
    # Off, or a thread that still works when the cluster is closed would start another one.
    os.environ |= {k: os.environ.get(k, "0") for k in (_AUTO_START, "RAY_USAGE_STATS_ENABLED")}
    if not settings.address and not imported_before:
        os.environ.update({k: v for k, v in _private().items() if k not in os.environ})
    try:
        _check_address(settings.address)
        import ray

        if ray.is_initialized():
            return ray, False
        if imported_before and not settings.address and os.environ.get(_LOOPBACK) != "0":
            raise UserError(
                "ray was imported before it could be told to listen on this machine only",
                hint="call ray.init() yourself, give an address, or import ray later",
            )
        _init(ray, settings)
    except ImportError:
        raise MissingExtra("ray", "ray") from None
    except Exception as e:
        if not isinstance(e, OSError | ValueError | RuntimeError) and not _is_rays(e):
            raise
        raise UserError(
            f"no connection to Ray at {settings.address or 'this machine'}: {e}",
            hint="see `ray status` there; --address HOST:PORT is that of `ray start --head`, and "
            "with RAY_AUTH_MODE=token its token must be on this machine too",
        ) from e
    return ray, True


def _init(ray: Any, settings: JobSettings) -> None:
    """Connect `ray` to the cluster that is wanted."""
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    if settings.address:
        ray.init(address=settings.address, **quiet)
    else:
        # One CPU more than workers: Ray Data filters what a checkpoint has in an actor.
        size = {"num_cpus": settings.workers + 1, "object_store_memory": OBJECT_STORE}
        ray.init(address="local", include_dashboard=False, **size, **quiet)


def _private() -> dict[str, str]:
    """Return the environment that Ray reads at import, for a cluster that no other user may use."""
    return {
        _LOOPBACK: "0",
        # Other users of the machine reach loopback too; without the token they are refused.
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        # Ray's core warns on the terminal of how Ray Data makes its actors.
        "RAY_BACKEND_LOG_LEVEL": "fatal",
    }


def _is_rays(error: Exception) -> bool:
    """Return whether it is one of Ray's own errors, such as that of a missing token."""
    ray = sys.modules.get("ray")
    return ray is not None and isinstance(error, ray.exceptions.RayError)


def _check_address(address: str) -> None:
    """Raise `OSError` where nothing listens: Ray itself would try for minutes."""
    if address.startswith("ray://"):
        raise ValueError("the job must be started on a machine of the cluster")
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if port.isdecimal() and host:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()


class RayPredictor:
    """The models of a job on a cluster: a `Teacher`, and the context in which its pipeline runs."""

    is_concurrent = False
    """Each worker asks as it can, where it works."""

    def __init__(
        self, settings: JobSettings, root: Path, worker: type[RayWorker] = RayWorker
    ) -> None:
        """Connect to the cluster. Raises `UserError` when there is no way to it."""
        self.settings, self.root, self.worker = settings, root.absolute(), worker
        self.ray, self.owned = connect(settings)
        here = self.ray.get_runtime_context().get_node_id()
        self.node = {"label_selector": {"ray.io/node-id": here}, "num_cpus": 0}
        """Resources of what must run on the driver's machine."""
        self.state = self.ray.remote(JobState).options(**self.node).remote(settings.chunk)
        self.work_folder: Path | None = None
        self._probe: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Release the cluster; remove what a whole job no longer needs."""
        self.release_probe()
        with suppress(self.ray.exceptions.RayError):
            self.ray.get(self.state.close.remote(), timeout=10)
        self.ray.kill(self.state)
        if kind is None and self.work_folder:
            shutil.rmtree(self.work_folder, ignore_errors=True)
        if self.owned:
            self.ray.shutdown()

    def fingerprint(self) -> dict[str, JsonValue]:
        """Return the models' fingerprint; they are all alike."""
        facts: dict[str, JsonValue] = self.status().fingerprint or self._probed("fingerprint")
        return facts

    def preview(self, examples: Sequence[Example]) -> list[RequestPreview]:
        """Return one worker's questions about a few examples, unasked."""
        questions: list[RequestPreview] = self._probed("preview", examples)
        return questions

    def prepare(self, examples: Sequence[Example]) -> Continuation:
        """Prepare nothing: a worker does so where it is."""
        return lambda: self.predict(examples)

    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        """Return one worker's predictions for a few examples, outside the pipeline."""
        predictions: list[Prediction] = self._probed("predict", examples)
        return predictions

    def status(self) -> RayJobStatus:
        """Return where the job stands. Raises `UserError` when its state is lost."""
        try:
            status: RayJobStatus = self.ray.get(self.state.current.remote())
        except self.ray.exceptions.RayActorError as e:
            hint = "run the same command again: what was answered is kept"
            raise UserError("the actor with the job's state died", hint=hint) from e
        return status

    def run(self, call: Callable[[], T]) -> T:
        """Call `call`; raise the job's own `UserError` in place of an error of Ray's."""
        try:
            return call()
        except self.ray.exceptions.RayError as e:
            raise self.status().error or e from e

    def release_probe(self) -> None:
        """End the worker that answered before the pipeline, so that its place is free."""
        if self._probe is not None:
            self.ray.kill(self._probe)
            self._probe = None

    def _probed(self, method: str, *args: object) -> Any:
        if self._probe is None:
            worker = self.ray.remote(self.worker).options(num_cpus=1, num_gpus=self.settings.gpus)
            self._probe = worker.remote(self.settings, self.root, Path.cwd(), self.state)
        answer = self._probe.call.remote(method, *args)
        return self.run(lambda: self.ray.get(answer))
