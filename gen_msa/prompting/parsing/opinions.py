"""Parse the answer to a prompt into opinions, with the evidence their explanations quote.

Parsing never raises and never guesses. An answer that cannot be parsed gives an opinion without a
polarity; its `status` says why and `raw` keeps the model's text.

The label of an answer that reached the token limit counts only when it came from a slot, because a
slot is filled before the explanation begins. In every other form such an answer has the status
`length`.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import NamedTuple

from gen_msa.chat import Completion
from gen_msa.prompting.parsing._aspect_list import parse_aspect_list
from gen_msa.prompting.parsing._cascade import (
    ParsedAnswer,
    Question,
    begins_with_form,
    is_blank,
    parse_answer,
)
from gen_msa.prompting.parsing._reasoning import FinalAnswer, final_answer
from gen_msa.prompting.prompt import Prompt
from gen_msa.prompting.rendering import count_noncharacters
from gen_msa.spans import MAX_QUOTES, SearchableText, extract_quotes, fold
from gen_msa.types import OVERALL_ASPECT, Aspect, Evidence, Opinion, Polarity, Post, Status

# Find the evidence of an explanation: the words it quotes and their position in the post.


class CollectedEvidence(NamedTuple):
    """The quotes of an answer that can be verified, and those that stand nowhere."""

    items: tuple[Evidence, ...] = ()
    invented: tuple[str, ...] = ()
    """Quotes that are in neither the post nor a cue."""

    @property
    def provenance(self) -> dict[str, str]:
        """The note `invented_quotes`, their number; empty without any."""
        return {INVENTED_QUOTES: str(len(self.invented))} if self.invented else {}


INVENTED_QUOTES = "invented_quotes"
"""Key of `Opinion.provenance`: how many quotes of an answer are in neither the post nor a cue."""


def collect_evidence(
    explanation: str | None,
    listed_quotes: Iterable[str],
    text: str,
    aspect: str,
    cue_texts: Sequence[str] = (),
) -> CollectedEvidence:
    """Collect the quotes that an answer lists, then those in its explanation, without duplicates.

    A quote of nothing but the aspect's own words is no evidence: it only names what is judged. A
    quote that stands neither in the post nor in a cue is no evidence either.

    Args:
        explanation: The explanation; text in double quotation marks counts as a quote.
        listed_quotes: Quotes from the answer's evidence field.
        text: The text of the post.
        aspect: The term of the aspect.
        cue_texts: What else the model was shown, such as the caption of the image.

    Returns:
        One `Evidence` for each quote of the post, with its offset, and for each quote of a cue
        (`source="cue"`); and the invented quotes.
    """
    folded_aspect = fold(aspect)
    quoted = [q for q in extract_quotes(explanation or "") if fold(q) != folded_aspect]
    candidates = [q for q in [*[q.strip() for q in listed_quotes][:MAX_QUOTES], *quoted] if q]
    if not candidates:
        return CollectedEvidence()
    searchable = SearchableText(text)
    cues = [SearchableText(t) for t in cue_texts if t]
    located = {q: _locate_quote(q, searchable, cues) for q in candidates}
    return CollectedEvidence(
        tuple(dict.fromkeys(e for e in located.values() if e)),
        tuple(q for q, e in located.items() if e is None),
    )


def _locate_quote(
    quote: str, searchable: SearchableText, cues: Sequence[SearchableText]
) -> Evidence | None:
    """Return the quote in the post's own letters; punctuation that the model added is dropped."""
    variants: Sequence[str] = (quote, quote.rstrip(".,;:!?…。，！？ "))
    for variant in variants:
        if span := next(searchable.find_whole_words(variant), None):
            return Evidence(quote=searchable.text[slice(*span)], start=span[0])
    for cue, variant in product(cues, variants):
        if span := next(cue.find_whole_words(variant), None):
            return Evidence(quote=cue.text[slice(*span)], source="cue")
    return None


MAX_CHARS = 200_000
"""Characters of an answer that are parsed, about 50 times what any prompt allows; `raw` has all."""


def parse_opinion(
    prompt: Prompt,
    completion: Completion,
    post: Post,
    aspect: Aspect | None,
    annotator: str,
    cue_texts: Sequence[str] = (),
) -> Opinion:
    """Parse the answer to a prompt of task `aspect` or `overall`. Never raises.

    Args:
        prompt: The prompt that was answered.
        completion: The answer and, where the backend has them, the scores of the label slot.
        post: The post; quotes are located in its text.
        aspect: The aspect of the question; None for the post as a whole.
        annotator: The name of the model, for `Opinion.annotator`.
        cue_texts: The cues that the prompt showed; they may be quoted too.

    Returns:
        The opinion. Its `provenance` has `prompt`; `form` (`slot`, `json`, `lines`, `bare` or
        `none`); `probability` (`label words`, or why there is none) when the backend gave scores;
        `invented_quotes`, the number of quotes that are in neither the post nor a cue;
        `explanation` when it is `cut` or `missing`; `noncharacters` when the prompt showed some as
        U+FFFD; and `truncated` when the answer was too long to be parsed completely.
    """
    aspect = aspect or OVERALL_ASPECT
    provenance = _base_provenance(prompt, completion, post.text, aspect.term)
    if completion.finish_reason == "error":
        return _error_opinion(completion, aspect, annotator, provenance)
    probs, slot_label = label_probabilities(completion.option_logprobs, prompt.labels, provenance)
    answer = _final_answer(prompt, completion, post)
    others = tuple(a.term for a in post.aspects if a.term and a.term != aspect.term)
    parsed = parse_answer(answer, Question(prompt, aspect.term, others, post.text), slot_label)
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
    evidence = collect_evidence(
        parsed.explanation, parsed.quotes, post.text, aspect.term, cue_texts
    )
    return Opinion(
        annotator=annotator,
        aspect=aspect,
        polarity=parsed.label,
        probs=probs,
        explanation=parsed.explanation,
        evidence=evidence.items,
        raw=completion.text,
        provenance=provenance | evidence.provenance,
    )


def parse_aspects(
    prompt: Prompt,
    completion: Completion,
    post: Post,
    annotator: str,
    cue_texts: Sequence[str] = (),
) -> list[Opinion]:
    """Parse the answer to a prompt of task `aspects`. Never raises.

    Args:
        prompt: The prompt that was answered.
        completion: The answer.
        post: The post; aspects and quotes are located in its text.
        annotator: The name of the model, for `Opinion.annotator`.
        cue_texts: The cues that the prompt showed; they may be quoted too.

    Returns:
        One opinion for each aspect; duplicates are merged. `provenance["span"]` says how the aspect
        was found in the text: `exact`, `casefold+NFC` or `absent`. An answer that cannot be parsed
        or names no aspect gives one opinion on the whole post, without a polarity.
    """
    provenance = _base_provenance(prompt, completion, post.text)
    if completion.finish_reason == "error":
        return [_error_opinion(completion, OVERALL_ASPECT, annotator, provenance)]
    answer = _final_answer(prompt, completion, post)
    text = "" if answer.is_ambiguous else answer.wrapped or answer.text
    parsed = parse_aspect_list(text, prompt, post.text)
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
                "evidence": evidence.items,
                "provenance": post_opinion.provenance | item.notes | evidence.provenance,
            }
        )
        for item in parsed.aspects
        for evidence in [
            collect_evidence(
                item.answer.explanation,
                item.answer.quotes,
                post.text,
                item.aspect.term,
                cue_texts,
            )
        ]
    ]
    return opinions or [post_opinion]


def _base_provenance(prompt: Prompt, completion: Completion, *texts: str) -> dict[str, str]:
    provenance = {"prompt": prompt.identity}
    if count := count_noncharacters(*texts):
        provenance["noncharacters"] = f"{count} shown as U+FFFD"
    if len(completion.text) > MAX_CHARS:
        provenance["truncated"] = f"the first {MAX_CHARS} of {len(completion.text)} characters"
    return provenance


def _error_opinion(
    completion: Completion, aspect: Aspect, annotator: str, provenance: dict[str, str]
) -> Opinion:
    provenance = provenance | {
        "form": "none",
        "error": completion.error or "the backend gave no error message",
    }
    raw = completion.text or None
    return Opinion(
        annotator=annotator, aspect=aspect, status=Status.ERROR, raw=raw, provenance=provenance
    )


def _final_answer(prompt: Prompt, completion: Completion, post: Post) -> FinalAnswer:
    def is_form(text: str) -> bool:
        return begins_with_form(text, prompt)

    return final_answer(completion.text[:MAX_CHARS], post.text, is_form)


def _status(completion: Completion, parsed: ParsedAnswer, answer: FinalAnswer) -> Status:
    is_cut = completion.finish_reason == "length"
    if parsed.form == "slot":
        return Status.OK
    if answer.is_ambiguous:
        return Status.LENGTH if is_cut else Status.UNPARSED
    if is_blank(answer.text) and is_blank(answer.wrapped or ""):
        has_thoughts = answer.has_thoughts or "reasoning" in completion.notes
        return Status.LENGTH if is_cut and has_thoughts else Status.EMPTY
    if is_cut and not (completion.notes.get("form") == "slot" and parsed.label):
        return Status.LENGTH
    return Status.OK if parsed.label else Status.UNPARSED


def label_probabilities(
    scores: Mapping[str, float] | None, labels: Mapping[Polarity, str], provenance: dict[str, str]
) -> tuple[dict[Polarity, float] | None, Polarity | None]:
    """Return the probability of each polarity and the likeliest one.

    Args:
        scores: Log-probability of each option of the label slot; None or empty without a slot.
        labels: The prompt's word for each polarity.
        provenance: Receives `probability`: what the probabilities are, or why there are none.

    Returns:
        The probabilities, which sum to 1, and the polarity with the highest one; the first in label
        order if several are equal. (None, None) without usable scores. With a single option the
        label was given rather than chosen, so there are no probabilities.
    """
    if not scores:
        return None, None
    label_by_word = {word.casefold(): p for p, word in labels.items()}
    score_by_label = {
        label_by_word.get(option.strip().casefold()): s for option, s in scores.items()
    }
    by_label = {p: score_by_label[p] for p in Polarity if p in score_by_label}
    if None in score_by_label or not any(math.isfinite(s) for s in by_label.values()):
        provenance["probability"] = "none: the scores name no label"
        return None, None
    if any(math.isnan(s) or s == math.inf for s in by_label.values()):
        provenance["probability"] = "none: a score is not a number"
        return None, None
    best = max(by_label, key=lambda p: by_label[p])
    if len(by_label) == 1:
        return None, best
    odds = {p: math.exp(s - by_label[best]) for p, s in by_label.items()}
    total = sum(odds.values())
    provenance["probability"] = "label words"
    return {p: odds.get(p, 0.0) / total for p in Polarity}, best
