"""MUStARD: television utterances with their context, sarcastic or not.

The file is `mustard/sarcasm_data.json`. Labels are for sarcasm, not sentiment: the opinion by
`gold` has no polarity, and `raw` is `sarcastic` or `not sarcastic`. Speaker, show and the preceding
lines are in `meta`. The only split is `all`, as published.

    open_examples("mustard").rows()
"""

from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter

from gen_msa.data.base import datasets, require_file
from gen_msa.data.formats.base import ExampleStream
from gen_msa.errors import user_errors
from gen_msa.types import Example, Opinion, Post, Status


class _MustardRow(BaseModel):
    model_config = ConfigDict(extra="forbid")

    utterance: str
    speaker: str
    context: list[str]
    context_speakers: list[str]
    show: str
    sarcasm: bool

    def to_example(self, post_id: str) -> Example:
        context_lines = zip(self.context_speakers, self.context, strict=False)
        return Example(
            post=Post(
                id=post_id,
                text=self.utterance,
                meta={
                    "speaker": self.speaker,
                    "show": self.show,
                    "context": [
                        {"speaker": line_speaker, "text": line_text}
                        for line_speaker, line_text in context_lines
                    ],
                },
            ),
            opinions=(
                Opinion(
                    annotator="gold",
                    raw="sarcastic" if self.sarcasm else "not sarcastic",
                    status=Status.UNPARSED,
                ),
            ),
        )


_FILE_ADAPTER = TypeAdapter(dict[str, _MustardRow])


@datasets.register
class Mustard:
    """All of MUStARD, text only."""

    about = "MUStARD, sarcasm in dialogue (Castro et al. 2019), 690 utterances, text only."
    splits: tuple[str, ...] = ("all",)
    is_packaged = False

    def media_root(self, root: Path) -> Path:
        """Return the folder of the data set, which has no videos."""
        return root / "mustard"

    def read(self, root: Path, split: str) -> ExampleStream:
        """Read every utterance.

        Args:
            root: The data root.
            split: `all`.

        Returns:
            One example per utterance, in the order of the file.

        Raises:
            UserError: The file is not valid.
        """
        return _examples(require_file(root, "mustard/sarcasm_data.json"))


def _examples(path: Path) -> Iterator[Example]:
    with user_errors(path, hint="download the file again"):
        utterances = _FILE_ADAPTER.validate_json(path.read_bytes())
    for post_id, row in utterances.items():
        yield row.to_example(post_id)
