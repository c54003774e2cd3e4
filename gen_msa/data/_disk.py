"""The folder of a corpus below the data root, and a clear error when a file is not there.

Knows nothing of formats.

    on_disk(root, "mams_atsa/val.xml")
"""

from pathlib import Path

from gen_msa.errors import UserError


def require_file(root: Path, name: str) -> Path:
    """The file `name` below `root`. Raises `UserError` when it is not there."""
    path = root / name
    if not path.is_file():
        raise UserError(
            f"{name} is not below {root}",
            hint="put it there (CONTRIBUTING.md describes the layout), or use another split",
        )
    return path
