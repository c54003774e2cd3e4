"""ShareGPT JSON with images, for LLaMA-Factory: an array of `messages` and `images`.

Content is text with one `<image>` for each image, so a post that contains `<image>` cannot be
stored. Files with `conversations` (from, value) are read too. `_chat` describes the mapping of
posts
to chats. Paths are relative to the media root. In `dataset_info.json`:

    {"posts": {"file_name": "posts.json", "formatting": "sharegpt",
      "columns": {"messages": "messages", "images": "images"}, "tags": {"role_tag": "role",
      "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}}}
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic_core import to_json

from gen_msa.data.formats._chat import PLACEHOLDER, dump_records, parse_chat_records
from gen_msa.data.formats._common import check_round_trip
from gen_msa.data.formats._json_stream import iter_records, write_array
from gen_msa.data.formats.base import ExampleStream, formats
from gen_msa.types import Example


@formats.register
class Sharegpt:
    """Reads and writes ShareGPT JSON with images."""

    suffixes: tuple[str, ...] = ()
    about = "ShareGPT JSON with images (LLaMA-Factory): text with <image> placeholders."

    def read(self, path: Path) -> ExampleStream:
        """Read every post, in order; a record that cannot be parsed is `Rejected`."""
        return parse_chat_records(path, iter_records(path))

    def write(self, path: Path, examples: Iterable[Example]) -> None:
        """Write one record per opinion.

        Args:
            path: The file to write.
            examples: The examples.

        Raises:
            UserError: The format cannot store a field of an example.
        """
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
