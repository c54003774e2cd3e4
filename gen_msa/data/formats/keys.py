"""Which known key an unknown one stands for: the one table of near misses, for files and service.

intended_key("image_path", SimpleRow.model_fields)                      # "image"
intended_key("caption", PostRequest.model_fields, is_closed=True)       # "text"
"""

import difflib
from collections.abc import Iterable

_ALIASES = {
    "image": ("picture", "photo", "img", "image_path", "img_path", "image_file", "image_url"),
    "images": ("pictures", "photos", "imgs", "image_paths", "image_files", "image_urls"),
    "aspects": ("aspect", "aspect_term", "aspect_terms", "target", "targets"),
}
"""Key -> other names that users give it."""
_CLOSED_ALIASES = {
    "text": ("caption", "content", "sentence", "post"),
    "images": ("media", "files"),
    "aspects": ("terms",),
}
"""Further names where no other key may stand; in a user's table they are often other facts."""
_NEAR_MISS_RATIO = 0.85
"""`difflib` similarity from which an unknown key counts as a misspelt one (`text`, `texts`)."""


def intended_key(key: str, known: Iterable[str], *, is_closed: bool = False) -> str:
    """Return the known key that an unknown one stands for; "" if it is like none of them.

    Args:
        key: The unknown key.
        known: The keys that are read.
        is_closed: Whether other keys than the known ones are refused.
    """
    known = list(known)
    for table in (_ALIASES, _CLOSED_ALIASES)[: 1 + is_closed]:
        for name, aliases in table.items():
            # A table with one row an aspect has the singular.
            field = next((n for n in (name, name.removesuffix("s")) if n in known), "")
            if key.casefold() in aliases and field:
                return field
    matches = difflib.get_close_matches(key.casefold(), known, n=1, cutoff=_NEAR_MISS_RATIO)
    return matches[0] if matches else ""
