"""Hugging Face `messages` + `images` as JSON lines, for TRL and transformers.

Content is a list of parts, so an image is a part, and a literal `<image>` in a post stays text. The
format for trainers that need `<image>` inside the text (LLaMA-Factory) is `sharegpt`. This one
reads such files too, and those of LLaVA, the OpenAI API, TRL, ms-swift and Alpaca. `_chat` has
the mapping of posts to chats. Paths are relative to the media root.

    {"id": "1", "messages": [{"role": "user", "content": [{"type": "image"}, {"type": "text", …}]},
     {"role": "assistant", "content": [{"type": "text", "text": "positive"}]}], "images": […], …}
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic_core import to_json

from gen_msa.data.formats._chat import dump_records, is_chat, parse_chat_records
from gen_msa.data.formats._common import check_round_trip
from gen_msa.data.formats._json_stream import first_record, iter_records
from gen_msa.data.formats.base import ExampleStream, formats
from gen_msa.jsonl import atomic_write
from gen_msa.types import Example


@formats.register
class Messages:
    """Reads and writes `messages` + `images`."""

    suffixes: tuple[str, ...] = ()
    content_suffixes: tuple[str, ...] = (".json", ".jsonl", ".ndjson")
    about = "Hugging Face messages + images (TRL): one JSON line per opinion, images as parts."

    def recognizes(self, head: bytes) -> bool:
        """Return whether the first record is a chat, also one of the other chat formats."""
        return is_chat(first_record(head))

    def read(self, path: Path) -> ExampleStream:
        """Read every post, in order; a record that cannot be parsed is `Rejected`."""
        return parse_chat_records(path, iter_records(path))

    def write(self, path: Path, examples: Iterable[Example]) -> None:
        """Write one line per opinion.

        Args:
            path: The file to write.
            examples: The examples.

        Raises:
            UserError: The format cannot store a field of an example.
        """
        parse_back = lambda r, n: parse_chat_records(path, enumerate(r, 1))  # noqa: E731 -- one line, used once
        with atomic_write(path) as f:
            for group in check_round_trip(
                "messages", examples, _dump, parse_back, joins_adjacent=True
            ):
                f.writelines(record + b"\n" for record in group)


def _dump(example: Example, number: int) -> list[bytes]:
    return [to_json(r) for r in dump_records("messages", example, _turns, placeholders=False)]


def _turns(question: str, answer: str | None, images: list[str]) -> dict[str, Any]:
    content: list[dict[str, str]] = [{"type": "image"} for _ in images]
    messages = [{"role": "user", "content": [*content, {"type": "text", "text": question}]}]
    if answer is not None:
        messages.append({"role": "assistant", "content": [{"type": "text", "text": answer}]})
    return {"messages": messages, "images": images}
