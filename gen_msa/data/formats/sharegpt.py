"""ShareGPT JSON with pictures, as LLaMA-Factory reads it: an array of `messages` and `images`.

Content is text with one `<image>` for each picture, so a post that holds that word itself has no
room here. Files with `conversations` (from, value) are read too. The mapping of posts to chats is
described in `_chat`. Paths stay relative to the media root. In `dataset_info.json`:

    {"posts": {"file_name": "posts.json", "formatting": "sharegpt",
      "columns": {"messages": "messages", "images": "images"}, "tags": {"role_tag": "role",
      "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}}}
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic_core import to_json

from gen_msa.data.formats._chat import PLACEHOLDER, dump_records, parse_chat_records
from gen_msa.data.formats._common import ExampleStream, check_round_trip
from gen_msa.data.formats._json_stream import iter_records, write_array
from gen_msa.data.formats.base import formats
from gen_msa.types import Example


@formats.register
class Sharegpt:
    """Reads and writes ShareGPT JSON with pictures."""

    suffixes: tuple[str, ...] = ()
    about = "ShareGPT JSON with images (LLaMA-Factory): text with <image> placeholders."

    def read(self, path: Path) -> ExampleStream:
        """Every post, in order; a record that cannot be read is `Rejected`."""
        return parse_chat_records(path, iter_records(path))

    def write(self, path: Path, examples: Iterable[Example]) -> None:
        """One record an opinion. Raises `UserError` naming a field without room."""
        groups = check_round_trip(
            "sharegpt",
            examples,
            _dump,
            lambda r, n: parse_chat_records(path, enumerate(r, 1)),
            joins_adjacent=True,
        )
        write_array(path, groups)


def _dump(example: Example, number: int) -> list[bytes]:
    return [to_json(r) for r in dump_records("sharegpt", example, _turns, placeholders=True)]


def _turns(question: str, answer: str | None, images: list[str]) -> dict[str, Any]:
    user_text = f"{PLACEHOLDER}\n" * len(images) + question
    messages = [{"role": "user", "content": user_text}]
    if answer is not None:
        messages.append({"role": "assistant", "content": answer})
    return {"messages": messages, "images": images}
