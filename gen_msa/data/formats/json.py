"""JSON: an array of complete examples, or of simple rows of a user's own; or one such object.

The rows are those of `jsonl`. Exports whose records are no rows (Label Studio, chats, pages of an
API) have formats of their own, which are recognized by their content.

    [{"text": "good food", "image": "a.jpg", "aspects": ["food"]}]
"""

from collections.abc import Iterable
from pathlib import Path

from gen_msa.data.formats._common import check_round_trip
from gen_msa.data.formats._json_stream import iter_records, write_array
from gen_msa.data.formats.base import ExampleStream, ReadOptions, formats
from gen_msa.data.formats.jsonl import dump_example, parse_rows
from gen_msa.types import Example


@formats.register
class Json:
    """Reads and writes a JSON array of rows."""

    suffixes: tuple[str, ...] = (".json",)
    about = "JSON: an array of examples, or of simple rows with `text`, `image`, `aspects`."

    def read(self, path: Path) -> ExampleStream:
        """Read every record, in order; a bad one is `Rejected`."""
        return self.read_with(path, ReadOptions())

    def read_with(self, path: Path, options: ReadOptions) -> ExampleStream:
        """Read every record, in order, with keys of other names; a bad one is `Rejected`.

        Args:
            path: The file.
            options: The names of keys; a dot leads into an object (`data.text`).

        Returns:
            The examples, with `Rejected` in place of each row that cannot be read.
        """
        return parse_rows(path, iter_records(path), options.columns)

    def write(self, path: Path, examples: Iterable[Example]) -> None:
        """Write one record per example.

        Args:
            path: The file to write.
            examples: The examples.

        Raises:
            UserError: A record would be too long to be read back.
        """
        groups = check_round_trip(
            "json",
            examples,
            lambda e, n: [dump_example("json", e)],
            lambda r, n: parse_rows(path, enumerate(r, 1), {}),
        )
        write_array(path, groups)
