"""Whether a judge is the very model that wrote what it is to judge.

Models are told apart by the last part of their name, whoever serves them and whatever adapter they
carry, and by their revision. Knows nothing of backends. A name that was made up for a server hides
a model from this check; nothing here can see that.

    model_of("http:http://host/v1#Qwen/Qwen3-VL-8B")       # 'qwen3-vl-8b'
    same_model("transformers:models/Qwen3-VL-8B", "sha256:1a2b", {"revision": "sha256:1a2b"})
"""

from collections.abc import Mapping

from pydantic import JsonValue


def model_of(name: str) -> str:
    """The model in a reader's or judge's name, folded; the kind itself where nothing follows it."""
    kind, _, target = name.partition(":")
    if kind == "http":
        target = target.partition("#")[2]
    model = target.partition("@")[0].rstrip("/").rpartition("/")[2]
    return (model or kind).casefold()


def same_model(judge: str, revision: str, maker: Mapping[str, JsonValue] | str) -> bool:
    """Whether `judge` (its name and revision) made what it is to judge.

    `maker` is a reader's fingerprint (`fingerprint()`, or `ReaderResult.facts`), or its name.
    """
    if isinstance(maker, str):
        return bool(maker) and model_of(maker) == model_of(judge)
    settings = maker.get("settings")
    named = settings.get("reader") if isinstance(settings, dict) else maker.get("reader")
    if maker.get("revision") and maker.get("revision") == revision:
        return True
    return isinstance(named, str) and same_model(judge, revision, named)
