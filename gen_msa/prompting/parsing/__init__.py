"""From an answer back to opinions: what was said, how it was read, and where the evidence stands.

Knows nothing of how the answer was made. An answer that cannot be read becomes an opinion without
a polarity that says why (`status`) and keeps the reader's words (`raw`); nothing is guessed.

The label of an answer that ran into the token limit counts only when it came from a slot, which is
filled before the reason begins; in all other forms such an answer is `length`, read or not.

    said = Completion(text="Sentiment: positive", finish_reason="stop")
    read_opinion(prompt, said, post, post.aspects[0], by="me")
"""

from gen_msa.chat import Completion
from gen_msa.prompting.parsing._aspect_list import parse_aspect_list
from gen_msa.prompting.parsing._cascade import (
    ParsedAnswer,
    has_thinking,
    is_blank,
    parse_answer,
    strip_thinking,
)
from gen_msa.prompting.parsing._verdicts import Verdict, parse_verdict
from gen_msa.prompting.parsing.opinions import collect_evidence, label_probabilities
from gen_msa.prompting.prompt import Prompt
from gen_msa.prompting.rendering import count_noncharacters
from gen_msa.types import OVERALL_ASPECT, Aspect, Opinion, Post, Status

MAX_CHARS = 200_000
"""Of an answer that are read; some fifty times what any prompt allows. `raw` keeps all."""


def parse_opinion(
    prompt: Prompt, completion: Completion, post: Post, aspect: Aspect | None, annotator: str
) -> Opinion:
    """The opinion of `by` in an answer to a prompt of task `aspect` or `overall`. Never raises.

    `how` holds `prompt`; `form` (`slot`, `json`, `lines`, `bare`, `none`); `probability`
    (`label words`) beside `probs`; `explanation` when it is `cut` or `missing`; `noncharacters`
    when some of the post were shown as U+FFFD; `read` when the answer was too long to read whole.
    """
    aspect = aspect or OVERALL_ASPECT
    provenance = _base_provenance(prompt, completion, post.text, aspect.term)
    if completion.finish_reason == "error":
        return _error_opinion(completion, aspect, annotator, provenance)
    probs, slot_label = label_probabilities(completion.option_logprobs, prompt.labels, provenance)
    answer = strip_thinking(completion.text[:MAX_CHARS])
    parsed = parse_answer(answer, prompt, slot_label)
    provenance["form"] = parsed.form
    status = _status(completion, parsed, answer)
    if status is not Status.OK:
        return Opinion(
            annotator=annotator,
            aspect=aspect,
            status=status,
            raw=completion.text,
            provenance=provenance,
        )
    if "explanation" in prompt.keys and not parsed.explanation:
        provenance["explanation"] = "missing"
    elif completion.finish_reason == "length" and parsed.explanation:
        provenance["explanation"] = "cut"
    return Opinion(
        annotator=annotator,
        aspect=aspect,
        polarity=parsed.label,
        probs=probs,
        explanation=parsed.explanation,
        evidence=collect_evidence(parsed.explanation, parsed.quotes, post.text, aspect.term),
        raw=completion.text,
        provenance=provenance,
    )


def parse_aspects(
    prompt: Prompt, completion: Completion, post: Post, annotator: str
) -> list[Opinion]:
    """The opinions of `by` in an answer to a prompt of task `aspects`, one for each aspect named.

    `how["span"]` says how an aspect was found in the text: `exact`, `casefold+NFC`, or `absent`.
    Aspects named more than once are one opinion. An answer that cannot be read, and one that names
    no aspect, is a single opinion on the whole post without a polarity. Never raises.
    """
    provenance = _base_provenance(prompt, completion, post.text)
    if completion.finish_reason == "error":
        return [_error_opinion(completion, OVERALL_ASPECT, annotator, provenance)]
    answer = strip_thinking(completion.text[:MAX_CHARS])
    parsed = parse_aspect_list(answer, prompt, post.text)
    post_opinion = Opinion(
        annotator=annotator,
        raw=completion.text,
        provenance=provenance | {"form": parsed.form} | parsed.notes,
    )
    if completion.finish_reason == "length" or parsed.form == "none":
        status = _status(completion, ParsedAnswer(parsed.form), answer)
        return [post_opinion.model_copy(update={"status": status})]
    opinions = [
        post_opinion.model_copy(
            update={
                "aspect": item.aspect,
                "polarity": item.answer.label,
                "status": Status.OK if item.answer.label else Status.UNPARSED,
                "explanation": item.answer.explanation,
                "evidence": collect_evidence(
                    item.answer.explanation, item.answer.quotes, post.text, item.aspect.term
                ),
                "how": post_opinion.provenance | item.notes,
            }
        )
        for item in parsed.aspects
    ]
    return opinions or [post_opinion]


def _base_provenance(prompt: Prompt, completion: Completion, *texts: str) -> dict[str, str]:
    provenance = {"prompt": prompt.identity}
    if count := count_noncharacters(*texts):
        provenance["noncharacters"] = f"{count} shown as U+FFFD"
    if len(completion.text) > MAX_CHARS:
        provenance["read"] = f"the first {MAX_CHARS} of {len(completion.text)} characters"
    return provenance


def _error_opinion(
    completion: Completion, aspect: Aspect, annotator: str, provenance: dict[str, str]
) -> Opinion:
    provenance = provenance | {
        "form": "none",
        "error": completion.error or "the backend gave no reason",
    }
    raw = completion.text or None
    return Opinion(
        annotator=annotator, aspect=aspect, status=Status.ERROR, raw=raw, provenance=provenance
    )


def _status(completion: Completion, parsed: ParsedAnswer, answer: str) -> Status:
    is_cut = completion.finish_reason == "length"
    if parsed.form == "slot":
        return Status.OK
    if is_blank(answer):
        return Status.LENGTH if is_cut and has_thinking(completion.text) else Status.EMPTY
    if is_cut and not (completion.notes.get("form") == "slot" and parsed.label):
        return Status.LENGTH
    return Status.OK if parsed.label else Status.UNPARSED


__all__ = ["Verdict", "parse_aspects", "parse_opinion", "parse_verdict"]
