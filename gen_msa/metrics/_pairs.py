"""What a metric is given: one aspect of one post, what one reader said of it, and what another did.

Knows nothing of how the two opinions were found or joined.

    Pair(post, gold=Opinion(by="gold", ...), said=Opinion(by="builtin", ...), cluster="photo.jpg")
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from gen_msa.types import Opinion, Polarity, Post


@dataclass(frozen=True)
class Pair:
    """One row of an evaluation.

    At least one of `gold` and `said` is there. Neither is ever dropped: a reader that was silent
    about an aspect is wrong about it, and an aspect nobody asked for costs precision.
    """

    post: Post
    gold: Opinion | None
    """By whoever the reader is held against; None: the reader named an aspect that gold has not."""
    prediction: Opinion | None
    """By the reader; None: it said nothing about gold's aspect."""
    cluster: str
    """Rows of one cluster (a picture, or a post) are not independent of each other."""
    extra_inputs: Mapping[str, str] = field(default_factory=dict)
    """What the reader saw besides the post, by name: `prompt`, `caption`, `objects`, `context`."""

    def __post_init__(self) -> None:
        if self.gold is None and self.prediction is None:
            raise ValueError(f"post {self.post.id}: a pair without any opinion")

    @property
    def label(self) -> Polarity | None:
        """Gold's polarity; None where there is none to be compared with."""
        return self.gold.polarity if self.gold else None

    @property
    def predicted_label(self) -> Polarity | None:
        """The reader's polarity; None when it said nothing or could not be read."""
        return self.prediction.polarity if self.prediction else None

    @property
    def reference_explanation(self) -> str:
        """Gold's explanation, stripped; empty where it gives none."""
        return ((self.gold.explanation if self.gold else None) or "").strip()

    @property
    def explanation(self) -> str:
        """The reader's explanation, stripped; empty where it gave none."""
        return ((self.prediction.explanation if self.prediction else None) or "").strip()
