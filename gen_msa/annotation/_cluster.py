"""Ray, connected: to a cluster that runs, or to one of our own on this machine.

Ray's protocol lets whoever reaches it run code. A cluster of our own listens on loopback only,
behind a token, with no dashboard and no report of its use. Knows nothing of readers.

    ray, ours = joined(JobSettings(reader="echo", engine="ray"))
"""

import logging
import os
import secrets
import socket
import sys
from typing import Any

from gen_msa.annotation.settings import JobSettings
from gen_msa.errors import MissingExtra, UserError

_STORE = 256 << 20
"""Bytes of shared memory for a cluster of our own: chunks are small."""
_LOOPBACK = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""At 0 Ray's word for "no cluster but this machine": all its servers then listen on loopback."""


def deaths(ray: Any) -> tuple[type[Exception], ...]:
    """What Ray raises when an answer is gone with its process or machine."""
    e = ray.exceptions
    gone = (e.RayActorError, e.ObjectLostError, e.NodeDiedError, e.WorkerCrashedError)
    # Ray's guard of a machine's memory kills whoever is largest; it is no child of the others.
    return (*gone, e.OutOfMemoryError, e.LocalRayletDiedError)


def _alone() -> dict[str, str]:
    """What Ray reads when it is imported, for a cluster that is nobody else's."""
    return {
        _LOOPBACK: "0",
        # Other users of the machine reach loopback too; without the token they are refused.
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
    }


def joined(settings: JobSettings) -> tuple[Any, bool]:
    """Ray, connected; and whether the connection is ours to end.

    Raises `UserError` for an address where nobody is, `MissingExtra` without Ray.
    """
    early = "ray" in sys.modules
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if not settings.address and not early:
        os.environ.update({k: v for k, v in _alone().items() if k not in os.environ})
    try:
        _knock(settings.address)
        import ray

        if ray.is_initialized():
            return ray, False
        if early and not settings.address and os.environ.get(_LOOPBACK) != "0":
            raise UserError(
                "ray was imported before it could be told to listen on this machine only",
                hint="call ray.init() yourself, give an address, or import ray later",
            )
        quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
        if settings.address:
            ray.init(address=settings.address, **quiet)
        else:
            own = {"include_dashboard": False, "object_store_memory": _STORE}
            ray.init(address="local", num_cpus=settings.workers, **own, **quiet)
    except ImportError:
        raise MissingExtra("ray", "ray") from None
    except Exception as e:
        if not isinstance(e, OSError | ValueError | RuntimeError) and not _of_ray(e):
            raise
        raise UserError(
            f"no way to Ray at {settings.address or 'this machine'}: {e}",
            hint="see `ray status` there; --address HOST:PORT is that of `ray start --head`, and "
            "with RAY_AUTH_MODE=token its token must lie here too",
        ) from e
    return ray, True


def _of_ray(error: Exception) -> bool:
    """Whether it is one of Ray's own errors, such as that of a missing token."""
    ray = sys.modules.get("ray")
    return ray is not None and isinstance(error, ray.exceptions.RayError)


def _knock(address: str) -> None:
    """Raise `OSError` where nobody listens: Ray itself would try for minutes."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if port.isdecimal() and host:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
