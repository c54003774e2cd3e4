"""Placeholders: the same item always has the same one, and only this machine can tell which.

A placeholder is a keyed hash of the item. The key is the environment variable
`GEN_MSA_PSEUDONYM_KEY`, for jobs on several machines, else a file in the user's state folder that
is made once. So workers, shards and a job that goes on agree, and the server cannot guess an item.

    Placeholders(b"key").choose(("handles", "@ana"), ["@ana"], "")    # "@user7kq2mzb"
"""

import hmac
import os
import re
import secrets
import sys
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from gen_msa.errors import UserError
from gen_msa.pseudonyms.items import ItemKind

KEY_ENV_VAR = "GEN_MSA_PSEUDONYM_KEY"
_MIN_KEY_CHARS = 16
_KEY_BYTES = 32

_ALPHABET = "bcdfghjkmnpqrstvwxz23456789"
"""No vowels: a placeholder is never a word, and no digits alone that look like a number."""
_ITEM_CHARS = 5
_SPELLING_CHARS = 2

_WORDS: dict[ItemKind, tuple[str, ...]] = {
    "handles": ("user", "member", "guest", "visitor"),
    "names": ("Person", "Somebody", "Individual"),
    "urls": ("link", "page", "site"),
    "emails": ("mail", "inbox", "letters"),
    "phones": ("phone", "number", "line"),
}
_FORMS: dict[ItemKind, str] = {
    "handles": "@{}",
    "names": "{}",
    "urls": "https://{}.example",
    "emails": "{}@mail.example",
    "phones": "{}",
}
_PATTERNS: dict[ItemKind, str] = {
    "handles": "@?{}",
    "names": "{}",
    "urls": r"(?:https?:(?:\\?/){{2}})?{}(?:\.example)?(?:\\?/)?",
    "emails": r"{}(?:@mail\.example)?",
    "phones": "{}",
}
_MAX_TRIES = 64


class Placeholders:
    """Makes placeholders under one key."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def choose(self, kind: ItemKind, item: str, items: Collection[str], text: str) -> str:
        """Return the core of an item's placeholder: a word and seven characters.

        Args:
            kind: The item's kind.
            item: The item as it is spelled; another spelling of it differs in two characters.
            items: All items that are replaced: the placeholder contains none of them.
            text: A text that does not contain the core.
        """
        same_item = _normalize(kind, item)
        folded_items, folded_text = [i.casefold() for i in items], text.casefold()
        core = ""
        for attempt in range(_MAX_TRIES):
            word = _WORDS[kind][attempt % len(_WORDS[kind])]
            code = self._code(f"{kind}\0{same_item}\0{attempt}", _ITEM_CHARS)
            core = word + code + self._code(f"{kind}\0{item}", _SPELLING_CHARS)
            written = written_form(kind, item, core).casefold()
            if core.casefold() not in folded_text and not any(i in written for i in folded_items):
                break
        return core

    def _code(self, message: str, length: int) -> str:
        number = int.from_bytes(hmac.digest(self._key, message.encode(), "sha256"))
        code = ""
        for _ in range(length):
            number, index = divmod(number, len(_ALPHABET))
            code += _ALPHABET[index]
        return code


def written_form(kind: ItemKind, item: str, core: str) -> str:
    """Return a placeholder as a prompt shows it.

    Args:
        kind: The kind of item.
        item: The item; a handle without its sign stays without.
        core: What `Placeholders.choose` returned.
    """
    is_bare_handle = kind == "handles" and item[0] not in "@＠"
    return core if is_bare_handle else _FORMS[kind].format(core)


def written_pattern(kind: ItemKind, core: str) -> str:
    """Return a regular expression of the forms in which a model writes a placeholder.

    Args:
        kind: The kind of item.
        core: What `Placeholders.choose` returned; the only group of the expression.
    """
    return _PATTERNS[kind].format(f"({re.escape(core)})")


def original_form(kind: ItemKind, item: str, written: str) -> str:
    """Return what stands for a placeholder that a model wrote.

    Args:
        kind: The kind of item.
        item: The item.
        written: The placeholder as written, perhaps without its sign.
    """
    if kind != "handles":
        return item
    sign, body = (item[0], item[1:]) if item[0] in "@＠" else ("", item)
    return f"{sign or '@'}{body}" if written.startswith("@") else body


def load_key() -> bytes:
    """Return the key of this user's pseudonyms, which is made at the first call.

    Raises:
        UserError: The key is too short, or its file can be neither read nor written.
    """
    if value := os.environ.get(KEY_ENV_VAR, ""):
        if len(value) < _MIN_KEY_CHARS:
            raise UserError(
                f"{KEY_ENV_VAR} has under {_MIN_KEY_CHARS} characters",
                hint="create one: python -c 'import secrets; print(secrets.token_urlsafe())'",
            )
        return value.encode()
    path = key_file()
    try:
        _create_key(path)
        key = path.read_bytes()
    except OSError as e:
        raise UserError(
            f"the key of pseudonyms cannot be stored: {path}: {e.strerror}",
            hint=f"set {KEY_ENV_VAR} to {_MIN_KEY_CHARS} secret characters or more",
        ) from None
    if len(key) != _KEY_BYTES:
        raise UserError(f"{path} is no key of pseudonyms", hint="remove it; a new one is made")
    return key


def key_file() -> Path:
    """Return the file of the key: in `$XDG_STATE_HOME`, else in the user's own state folder."""
    if folder := os.environ.get("XDG_STATE_HOME"):
        return Path(folder, "gen-msa", "pseudonyms.key")
    if sys.platform == "win32" and (folder := os.environ.get("LOCALAPPDATA")):
        return Path(folder, "gen-msa", "pseudonyms.key")
    return Path.home() / ".local" / "state" / "gen-msa" / "pseudonyms.key"


def _create_key(path: Path) -> None:
    """Write a new key, complete from the start; of several processes the first one's stays."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.part")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secrets.token_bytes(_KEY_BYTES))
        with suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def _normalize(kind: ItemKind, item: str) -> str:
    """Return the form that all spellings of an item share."""
    if kind == "handles":
        return item.lstrip("@＠").casefold()
    if kind == "phones":
        return "".join(c for c in item if c.isdigit())
    return item if kind == "urls" else " ".join(item.split()).casefold()
