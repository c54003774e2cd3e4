"""LLaVA's JSON: an array of records with `id`, `image` and `conversations`.

Images are `<image>` lines before the text of the first turn, so a post that contains `<image>`
cannot be stored. `_chat` describes the mapping of posts to chats. Paths are relative to the media
root.

    [{"id": "1", "image": "a.jpg", "conversations": [{"from": "human", "value": "<image>\\nHi"},
      {"from": "gpt", "value": "positive"}], "gen_msa": "…"}]
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
class Llava:
    """Reads and writes LLaVA's JSON."""

    suffixes: tuple[str, ...] = ()
    about = "LLaVA JSON: id, image, conversations of human and gpt with <image>."

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
            "llava",
            examples,
            _dump,
            lambda r, n: parse_chat_records(path, enumerate(r, 1)),
            joins_adjacent=True,
        )
        write_array(path, groups)


def _dump(example: Example, number: int) -> list[bytes]:
    return [to_json(r) for r in dump_records("llava", example, _turns, placeholders=True)]


def _turns(question: str, answer: str | None, images: list[str]) -> dict[str, Any]:
    user_text = f"{PLACEHOLDER}\n" * len(images) + question
    turns = [{"from": "human", "value": user_text}]
    if answer is not None:
        turns.append({"from": "gpt", "value": answer})
    image = {"image": images[0] if len(images) == 1 else images} if images else {}
    return {**image, "conversations": turns}
