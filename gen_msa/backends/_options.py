"""What a backend says at start about options it cannot honour.

Knows no backend. A setting left at its default was not asked for, and is passed over.

    say_ignored("http", BackendOptions(dtype="float16"), {"timeout", "retries"})
"""

import logging
from collections.abc import Collection

from gen_msa.backends.base import BackendOptions

_log = logging.getLogger("gen_msa.backends")


def ignored_options(options: BackendOptions, supported: Collection[str]) -> list[str]:
    """The options that were set away from their default and are not in `honoured`, sorted."""
    changed = options.model_dump(exclude_defaults=True)
    return sorted(set(changed) - set(supported))


def warn_ignored(backend: str, options: BackendOptions, supported: Collection[str]) -> None:
    """Log a warning that names every option `backend` was given and cannot honour."""
    for name in ignored_options(options, supported):
        _log.warning("%s has no use for backend.%s; it is ignored", backend, name)
