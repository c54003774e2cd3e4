"""Whether a judge is the very model that wrote what it is to judge.

Models are told apart by the last part of their name, whoever serves them and whatever adapter they
carry, and by their revision. Knows nothing of backends. A name that was made up for a server hides
a model from this check; nothing here can see that.

    model_of("http:http://host/v1#Qwen/Qwen3-VL-8B")       # 'qwen3-vl-8b'
    same_model("transformers:models/Qwen3-VL-8B", "sha256:1a2b", {"revision": "sha256:1a2b"})
"""

from collections.abc import Mapping

from pydantic import JsonValue


def model_name(name: str) -> str:
    """The model in a reader's or judge's name, folded; the kind itself where nothing follows it."""
    kind, _, target = name.partition(":")
    if kind == "http":
        target = target.partition("#")[2]
    model = target.partition("@")[0].rstrip("/").rpartition("/")[2]
    return (model or kind).casefold()


def is_same_model(judge: str, revision: str, author: Mapping[str, JsonValue] | str) -> bool:
    """Whether `judge` (its name and revision) made what it is to judge.

    `maker` is a reader's fingerprint (`fingerprint()`, or `ReaderResult.facts`), or its name.
    """
    if isinstance(author, str):
        return bool(author) and model_name(author) == model_name(judge)
    settings = author.get("settings")
    name = settings.get("reader") if isinstance(settings, dict) else author.get("reader")
    if author.get("revision") and author.get("revision") == revision:
        return True
    return isinstance(name, str) and is_same_model(judge, revision, name)
