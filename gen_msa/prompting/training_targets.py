"""Build training targets: opinions as the answer that a prompt asks for, cut into fields.

The inverse of `prompting.parsing`: parsing a target gives the opinion back. The answer follows the
order of `keys` in the prompt's front matter.

    build_target(load_prompt("predict/full"), [opinion]).text
    # 'Sentiment: positive\\nExplanation: …'
"""

import json
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from gen_msa.errors import UserError
from gen_msa.prompting.prompt import Prompt
from gen_msa.types import Opinion

TargetField = Literal["label", "explanation", "aspect", "form"]


class TargetSegment(NamedTuple):
    """A piece of an answer that belongs to one field; `form` is keys, quotes and line ends."""

    text: str
    field: TargetField


class TrainingTarget(NamedTuple):
    """A complete answer, or its beginning when the explanation is missing."""

    segments: tuple[TargetSegment, ...]
    complete: bool
    """False if the prompt asks for an explanation and there is none: the target ends after the
    label, without an end token, so that the model does not learn to stop there."""

    @property
    def text(self) -> str:
        """The answer as the model should write it."""
        return "".join(p.text for p in self.segments)


def build_target(prompt: Prompt, opinions: Sequence[Opinion]) -> TrainingTarget:
    """Build the answer to `prompt` that states `opinions`.

    Args:
        prompt: A prompt of any task except `judge`.
        opinions: One opinion; for task `aspects`, all opinions of a post.

    Returns:
        The segments of the answer; incomplete if the explanation asked for is missing.

    Raises:
        UserError: An opinion has no polarity; the prompt needs an explanation that is missing; or
            the prompt is a judge prompt, whose answer is no opinion.
    """
    if prompt.task == "judge":
        raise UserError(f"prompt {prompt.name} is for judges", hint="choose one of predict/")
    for opinion in opinions:
        if opinion.polarity is None:
            raise UserError(f"{opinion.annotator} gives no polarity for {opinion.aspect.term!r}")
    if prompt.task == "aspects":
        return TrainingTarget(tuple(_aspect_list(prompt, opinions)), complete=True)
    if len(opinions) != 1:
        raise UserError(f"prompt {prompt.name} answers about one aspect, not {len(opinions)}")
    return _keyed_lines(prompt, opinions[0])


def _keyed_lines(prompt: Prompt, opinion: Opinion) -> TrainingTarget:
    explanation = _one_line(opinion.explanation)
    segments: list[TargetSegment] = []
    for role in (r for r in prompt.keys if r in ("label", "explanation")):
        key = f"{prompt.keys[role]}:"
        if role == "explanation" and not explanation:
            if not segments or prompt.takes_label:
                raise UserError(
                    f"prompt {prompt.name} needs an explanation for {opinion.aspect.term!r}"
                )
            return TrainingTarget(tuple(segments), complete=False)
        segments.append(TargetSegment(f"\n{key}" if segments else key, "form"))
        if role == "explanation":
            segments.append(TargetSegment(f" {explanation}", "explanation"))
        else:
            # A label that the prompt gives is copied, so there is nothing to learn.
            field: TargetField = "form" if prompt.takes_label else "label"
            segments.append(TargetSegment(f" {_label_word(prompt, opinion)}", field))
    return TrainingTarget(tuple(segments), complete=True)


def _aspect_list(prompt: Prompt, opinions: Sequence[Opinion]) -> Iterator[TargetSegment]:
    keys = {role: name.lower() for role, name in prompt.keys.items()}
    yield TargetSegment(f'{{"{keys["aspects"]}": [', "form")
    for i, opinion in enumerate(opinions):
        yield TargetSegment(", {" if i else "{", "form")
        values = {
            "aspect": opinion.aspect.term,
            "label": _label_word(prompt, opinion),
            "explanation": _one_line(opinion.explanation),
        }
        roles = [r for r in prompt.keys if values.get(r) and r in values]
        for j, role in enumerate(roles):
            yield TargetSegment(f'{", " if j else ""}"{keys[role]}": "', "form")
            field: TargetField = role  # type: ignore[assignment]
            yield TargetSegment(json.dumps(values[role], ensure_ascii=False)[1:-1], field)
            yield TargetSegment('"', "form")
        yield TargetSegment("}", "form")
    yield TargetSegment("]}", "form")


def _label_word(prompt: Prompt, opinion: Opinion) -> str:
    if opinion.polarity is None:
        raise UserError(f"{opinion.annotator} gives no polarity for {opinion.aspect.term!r}")
    return prompt.labels[opinion.polarity]


def _one_line(text: str | None) -> str:
    return " ".join((text or "").split())
