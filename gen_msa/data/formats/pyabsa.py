"""The text files of PyABSA, and others of their kind: three lines an aspect, or tagged words.

In `.seg` and `.apc` an aspect is a sentence with `$T$` in its place, the aspect, and its label: a
name, or -1, 0, 1. In `.atepc` a sentence is a block of words, each with its tag (`B-ASP`, `I-ASP`,
`O`) and label; -100 is none. Adjacent aspects of one sentence are one post, named FILE_STEM-N. Of
two labels of one aspect that differ, none is taken (`conflict`). Written are three lines an aspect.

    The $T$ is good
    tea
    Positive
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from pydantic import ValidationError

from gen_msa.data.formats._common import (
    GOLD_ANNOTATOR,
    NumberedLine,
    check_round_trip,
    reject_row,
    unsupported_field_error,
)
from gen_msa.data.formats._labelled_terms import (
    IMPLICIT,
    LabelledTerm,
    decode_line,
    example,
    polarity_name,
    span_of_words,
    words_of,
)
from gen_msa.data.formats._twitter import TARGET_MARKER
from gen_msa.data.formats.base import ExampleStream, formats
from gen_msa.jsonl import atomic_write, format_validation_error, read_lines
from gen_msa.types import Aspect, Example, Polarity, Rejected

_LABELS = {"-1": "negative", "0": "neutral", "1": "positive"}
_NO_LABEL = "-100"
_TAGS = ("O", "B-ASP", "I-ASP")
_MAX_WORDS = 20_000
_HINT = "an aspect is three lines: the sentence with $T$, the aspect, and its label"
_TAG_HINT = "each line is WORD TAG LABEL, and a blank line ends a sentence"

_Block = tuple[int, str, list[LabelledTerm]]
"""Line, sentence and aspects of a record; an empty label is none."""


@formats.register
class Pyabsa:
    """Reads the text files of PyABSA, writes three lines an aspect."""

    suffixes: tuple[str, ...] = (".seg", ".apc", ".atepc")
    content_suffixes: tuple[str, ...] = (".txt", ".raw", ".dat")
    about = "PyABSA text: three lines an aspect with $T$ (.seg, .apc), or tagged words (.atepc)."

    def recognizes(self, head: bytes) -> bool:
        """Return whether the first lines are aspects of three lines, or tagged words."""
        lines = [x for x in head.decode("utf-8", "replace").split("\n") if x.strip()][:4]
        if lines and _is_tagged(lines[0]):
            return True
        markers = [TARGET_MARKER in x for x in lines]
        is_block = markers[:3] == [True, False, False] and markers[3:] in ([], [True])
        return is_block and _label(lines[2]) in (*Polarity, "conflict")

    def read(self, path: Path) -> ExampleStream:
        """Read every sentence, in order; a bad one is `Rejected`."""
        lines = read_lines(path)
        first = next(lines, None)
        if first is None:
            return iter(())
        is_tagged = not isinstance(first, Rejected) and _is_tagged(
            first[1].decode("utf-8", "replace")
        )
        if is_tagged:
            return _join(path, _tagged_blocks(path))
        return _join(path, _three_line_blocks(path, itertools.chain([first], lines)))

    def write(self, path: Path, examples: Iterable[Example]) -> None:
        """Write three lines per aspect.

        Args:
            path: The file to write.
            examples: The examples.

        Raises:
            UserError: The format cannot store a field of an example.
        """

        def parse(lines: list[bytes], number: int) -> ExampleStream:
            return _join(path, _three_line_blocks(path, enumerate(lines, 1)), number)

        with atomic_write(path) as f:
            for lines in check_round_trip("pyabsa", examples, _dump, parse, joins_adjacent=True):
                f.writelines(line + b"\n" for line in lines)


def _is_tagged(line: str) -> bool:
    return len(line.split()) == 3 and line.split()[1] in _TAGS


def _label(text: str) -> str:
    return _LABELS.get(text.strip(), polarity_name(text.strip()))


def _three_line_blocks(
    path: Path, lines: Iterable[NumberedLine | Rejected]
) -> Iterator[_Block | Rejected]:
    """Yield aspects; after a damaged one, reading goes on at the next sentence with a marker."""
    pending: list[NumberedLine] = []
    for line in lines:
        if isinstance(line, Rejected):
            yield line
            continue
        if pending and len(pending) < 3 and TARGET_MARKER.encode() in line[1]:
            yield _reject(path, pending, f"{len(pending)} lines instead of three", _HINT)
            pending = []
        pending.append(line)
        if len(pending) == 3:
            yield _three_line_block(path, pending)
            pending = []
    if pending:
        yield _reject(path, pending, f"{len(pending)} lines instead of three", _HINT)


def _three_line_block(path: Path, lines: list[NumberedLine]) -> _Block | Rejected:
    try:
        marked, term, label = (decode_line(raw) for _, raw in lines)
        before, *others = marked.split(TARGET_MARKER)
        if term == IMPLICIT and not others:
            return lines[0][0], marked, [LabelledTerm(None, _label(label))]
        if len(others) != 1 or not term or not label:
            raise ValueError(f"{len(others)} markers {TARGET_MARKER} in the sentence, not one")
        aspect = Aspect(term=term, start=len(before))
        labelled = LabelledTerm(aspect, "" if label == _NO_LABEL else _label(label))
        return lines[0][0], before + term + others[0], [labelled]
    except ValueError as e:
        return _reject(path, lines, str(e), _HINT)


def _tagged_blocks(path: Path) -> Iterator[_Block | Rejected]:
    with path.open("rb") as file:
        numbered = enumerate(iter(lambda: file.readline(1 << 16), b""), 1)
        for is_block, group in itertools.groupby(numbered, lambda x: bool(x[1].strip())):
            lines = list(itertools.islice(group, _MAX_WORDS + 1)) if is_block else []
            if len(lines) > _MAX_WORDS:
                reason = f"a sentence over the limit of {_MAX_WORDS} words"
                yield _reject(path, lines, reason, "put a blank line behind each sentence")
            elif lines:
                yield _tagged_block(path, lines)


def _tagged_block(path: Path, lines: list[NumberedLine]) -> _Block | Rejected:
    try:
        rows = [decode_line(raw).split() for _, raw in lines]
        bad = next((r for r in rows if len(r) != 3 or r[1] not in _TAGS), None)
        if bad is not None:
            raise ValueError(f"{' '.join(bad)[:60]!r} is not WORD TAG LABEL")
        sentence = " ".join(word for word, _, _ in rows)
        words, starts = words_of(sentence)
        terms = []
        for begin, (_, tag, label) in enumerate(rows):
            if tag == "B-ASP":
                tail = itertools.takewhile(lambda r: r[1] == "I-ASP", rows[begin + 1 :])
                term, start = span_of_words(words, starts, begin, begin + 1 + len(list(tail)))
                name = "" if label == _NO_LABEL else _label(label)
                terms.append(LabelledTerm(Aspect(term=term, start=start), name))
        return lines[0][0], sentence, terms
    except ValueError as e:
        return _reject(path, lines, str(e), _TAG_HINT)


def _reject(path: Path, lines: Sequence[NumberedLine], reason: str, hint: str) -> Rejected:
    raw = b"\n".join(raw.rstrip() for _, raw in lines[:20])
    return reject_row(path, lines[0][0], reason, raw, hint)


def _join(path: Path, blocks: Iterable[_Block | Rejected], number: int = 1) -> ExampleStream:
    """Join adjacent aspects of one sentence to a post."""
    for sentence, group in itertools.groupby(blocks, _sentence):
        if sentence is None:
            yield from (b for b in group if isinstance(b, Rejected))
            continue
        parts = [b for b in group if not isinstance(b, Rejected)]
        try:
            terms = [t for _, _, labelled in parts for t in labelled]
            yield _example(f"{path.stem}-{number}", sentence, terms)
            number += 1
        except ValueError as e:
            reason = format_validation_error(e) if isinstance(e, ValidationError) else str(e)
            yield reject_row(path, parts[0][0], reason, sentence, _HINT)


def _sentence(block: _Block | Rejected) -> str | None:
    return None if isinstance(block, Rejected) else block[1]


def _example(post_id: str, sentence: str, terms: list[LabelledTerm]) -> Example:
    """Return the example; an aspect without a label has no opinion."""
    labelled = example(post_id, sentence, [t for t in terms if t.label])
    aspects = tuple(dict.fromkeys(t.aspect or Aspect(term=IMPLICIT) for t in terms))
    return Example(
        post=labelled.post.model_copy(update={"aspects": aspects}), opinions=labelled.opinions
    )


def _dump(example: Example, number: int) -> list[bytes]:
    post = example.post
    if not post.aspects:
        raise unsupported_field_error("pyabsa", example, "post.aspects", "at least one aspect")
    if any(c in post.text for c in "\r\n"):
        raise unsupported_field_error("pyabsa", example, "post.text", "a line break")
    lines = []
    labels = {o.aspect: o for o in example.opinions_by(GOLD_ANNOTATOR)}
    for aspect in post.aspects:
        opinion = labels.get(aspect)
        name = opinion and (opinion.polarity.value if opinion.polarity else opinion.raw)
        if aspect.start is None or aspect.end is None:
            marked = post.text
        else:
            marked = post.text[: aspect.start] + TARGET_MARKER + post.text[aspect.end :]
        lines += [marked, aspect.term, (name or _NO_LABEL).capitalize()]
    if any("\n" in line or "\r" in line for line in lines):
        raise unsupported_field_error("pyabsa", example, "a field", "a line break")
    return [line.encode() for line in lines]
