"""File formats: how examples lie on disk. A format is a file here, named as users name it.

Knows nothing of particular corpora (`gen_msa.data` does). Every format reads lazily, sets bad rows
aside as `Rejected`, and what it writes it reads back equal; a field it has no room for is a
`UserError` that names the field, never a silent loss.

    for row in formats["tombert_tsv"].read(Path("dev.tsv")): ...
"""

from gen_msa.data.formats._common import locate_aspects
from gen_msa.data.formats._simple import SimpleRow
from gen_msa.data.formats.base import Format, format_of, formats

__all__ = ["Format", "SimpleRow", "format_of", "formats", "locate_aspects"]
