"""Fingerprints of what cues depend on: settings, versions and files.

Knows nothing of cues.

    digest("window 1", options.model_dump_json())
"""

import hashlib
from pathlib import Path


def digest(*parts: str) -> str:
    """SHA-256 over the parts, each with its length, so that no two lists collide."""
    hasher = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        hasher.update(f"{len(data)}:".encode() + data)
    return hasher.hexdigest()


def digest_file(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()
