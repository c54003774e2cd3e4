"""The form of an answer, for backends that can enforce one: a slot for the label, or a JSON schema.

Knows nothing of how either is enforced. All words come from the prompt's front matter, and the
order of its `keys` is the order of the answer. Most name the label first, so that it is said before
the reason can run out of tokens.

    choice("aspect", (("label", "Sentiment"),), ("negative", "neutral", "positive"))
"""

import functools
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue, create_model

from gen_msa.chat import ChoiceSlot

MAX_EXPLANATION_CHARS = 300
"""Characters of a reason; about 70 tokens. A longer answer has room for more."""
CHARS_PER_TOKEN = 3
"""Of a reason, for each token that its answer may have: fewer than a token has, so that the answer
is closed before its tokens end."""
MAX_QUOTES = 3
MAX_QUOTE_CHARS = 80
MAX_ASPECTS = 32
MAX_ASPECT_CHARS = 80

AnswerKeys = tuple[tuple[str, str], ...]


def label_choice(task: str, keys: AnswerKeys, label_words: tuple[str, ...]) -> ChoiceSlot | None:
    """The label slot of an answer in lines.

    None for a joint answer, which has no single label, and where the reason comes before the label.
    """
    names = dict(keys)
    if task == "aspects" or next(iter(names)) != "label":
        return None
    # The blank belongs to the option: tokenizers join it to the word that follows.
    then = f"\n{names['explanation']}:" if "explanation" in names else ""
    return ChoiceSlot(prefix=f"{names['label']}:", options=tuple(f" {w}" for w in label_words), suffix=then)


@functools.lru_cache(maxsize=256)
def answer_schema(task: str, keys: AnswerKeys, label_words: tuple[str, ...], max_tokens: int) -> dict[str, JsonValue]:
    """The JSON schema of an answer, in the order of `keys`, nothing optional, nothing added.

    `tokens`: the most that the answer may have.
    """
    names = {role: name.lower() for role, name in keys}
    label = Annotated[str, Field(json_schema_extra={"enum": list(label_words)})]
    quotes = Annotated[
        list[Annotated[str, Field(max_length=MAX_QUOTE_CHARS)]], Field(max_length=MAX_QUOTES)
    ]
    max_chars = MAX_EXPLANATION_CHARS
    if task != "aspects":
        max_chars = max(max_chars, CHARS_PER_TOKEN * max_tokens)
    explanation = Annotated[str, Field(max_length=max_chars)]
    aspect = Annotated[str, Field(min_length=1, max_length=MAX_ASPECT_CHARS)]
    field_types = {"aspect": aspect, "label": label, "explanation": explanation, "evidence": quotes}
    if task != "aspects":
        del field_types["aspect"]
    answer = _create_answer_model("Answer", {names[role]: field_types[role] for role, _ in keys if role in field_types})
    if task == "aspects":
        answer_list = Annotated[list[answer], Field(max_length=MAX_ASPECTS)]  # type: ignore[valid-type]
        answer = _create_answer_model("Answers", {names["aspects"]: answer_list})
    return answer.model_json_schema()


def _create_answer_model(name: str, fields: Mapping[str, Any]) -> type[BaseModel]:
    required: dict[str, Any] = {field: (kind, ...) for field, kind in fields.items()}
    return create_model(name, __config__=ConfigDict(extra="forbid"), **required)
