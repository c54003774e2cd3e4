"""From an answer back to opinions: what was said, how it was read, and where the evidence stands.

Knows nothing of how the answer was made. An answer that cannot be read becomes an opinion without
a polarity that says why (`status`) and keeps the reader's words (`raw`); nothing is guessed.

The label of an answer that ran into the token limit counts only when it came from a slot, which is
filled before the reason begins; in all other forms such an answer is `length`, read or not.

    said = Completion(text="Sentiment: positive", finish_reason="stop")
    read_opinion(prompt, said, post, post.aspects[0], by="me")
"""

from gen_msa.chat import Completion
from gen_msa.prompting.answers._joint import said_aspects
from gen_msa.prompting.answers._ladder import Reading, answer_of, blank, read, thinks
from gen_msa.prompting.answers._quotes import evidence
from gen_msa.prompting.answers._scores import probabilities
from gen_msa.prompting.answers._verdicts import Verdict, read_verdict
from gen_msa.prompting.prompt import Prompt
from gen_msa.prompting.rendering import replaced
from gen_msa.types import WHOLE_POST, Aspect, Opinion, Post, Status

MAX_CHARS = 200_000
"""Of an answer that are read; some fifty times what any prompt allows. `raw` keeps all."""


def read_opinion(
    prompt: Prompt, completion: Completion, post: Post, aspect: Aspect | None, by: str
) -> Opinion:
    """The opinion of `by` in an answer to a prompt of task `aspect` or `overall`. Never raises.

    `how` holds `prompt`; `form` (`slot`, `json`, `lines`, `bare`, `none`); `probability`
    (`label words`) beside `probs`; `explanation` when it is `cut` or `missing`; `noncharacters`
    when some of the post were shown as U+FFFD; `read` when the answer was too long to read whole.
    """
    aspect = aspect or WHOLE_POST
    how = _how(prompt, completion, post.text, aspect.term)
    if completion.finish_reason == "error":
        return _failed(completion, aspect, by, how)
    probs, slot = probabilities(completion.option_logprobs, prompt.labels, how)
    answer = answer_of(completion.text[:MAX_CHARS])
    reading = read(answer, prompt, slot)
    how["form"] = reading.form
    status = _status(completion, reading, answer)
    if status is not Status.OK:
        return Opinion(by=by, aspect=aspect, status=status, raw=completion.text, how=how)
    if "explanation" in prompt.keys and not reading.explanation:
        how["explanation"] = "missing"
    elif completion.finish_reason == "length" and reading.explanation:
        how["explanation"] = "cut"
    return Opinion(
        by=by,
        aspect=aspect,
        polarity=reading.label,
        probs=probs,
        explanation=reading.explanation,
        evidence=evidence(reading.explanation, reading.quotes, post.text, aspect.term),
        raw=completion.text,
        how=how,
    )


def read_aspects(prompt: Prompt, completion: Completion, post: Post, by: str) -> list[Opinion]:
    """The opinions of `by` in an answer to a prompt of task `aspects`, one for each aspect named.

    `how["span"]` says how an aspect was found in the text: `exact`, `casefold+NFC`, or `absent`.
    Aspects named more than once are one opinion. An answer that cannot be read, and one that names
    no aspect, is a single opinion on the whole post without a polarity. Never raises.
    """
    how = _how(prompt, completion, post.text)
    if completion.finish_reason == "error":
        return [_failed(completion, WHOLE_POST, by, how)]
    answer = answer_of(completion.text[:MAX_CHARS])
    said = said_aspects(answer, prompt, post.text)
    whole = Opinion(by=by, raw=completion.text, how=how | {"form": said.form} | said.notes)
    if completion.finish_reason == "length" or said.form == "none":
        status = _status(completion, Reading(said.form), answer)
        return [whole.model_copy(update={"status": status})]
    opinions = [
        whole.model_copy(
            update={
                "aspect": one.aspect,
                "polarity": one.reading.label,
                "status": Status.OK if one.reading.label else Status.UNPARSED,
                "explanation": one.reading.explanation,
                "evidence": evidence(
                    one.reading.explanation, one.reading.quotes, post.text, one.aspect.term
                ),
                "how": whole.how | one.notes,
            }
        )
        for one in said.aspects
    ]
    return opinions or [whole]


def _how(prompt: Prompt, completion: Completion, *texts: str) -> dict[str, str]:
    how = {"prompt": prompt.identity}
    if count := replaced(*texts):
        how["noncharacters"] = f"{count} shown as U+FFFD"
    if len(completion.text) > MAX_CHARS:
        how["read"] = f"the first {MAX_CHARS} of {len(completion.text)} characters"
    return how


def _failed(completion: Completion, aspect: Aspect, by: str, how: dict[str, str]) -> Opinion:
    how = how | {"form": "none", "error": completion.error or "the backend gave no reason"}
    raw = completion.text or None
    return Opinion(by=by, aspect=aspect, status=Status.ERROR, raw=raw, how=how)


def _status(completion: Completion, reading: Reading, answer: str) -> Status:
    cut = completion.finish_reason == "length"
    if reading.form == "slot":
        return Status.OK
    if blank(answer):
        return Status.LENGTH if cut and thinks(completion.text) else Status.EMPTY
    if cut and not (completion.notes.get("form") == "slot" and reading.label):
        return Status.LENGTH
    return Status.OK if reading.label else Status.UNPARSED


__all__ = ["Verdict", "read_aspects", "read_opinion", "read_verdict"]
