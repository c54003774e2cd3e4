"""Parse the polarity that a short text names, from an explicit table of words in many languages.

Negation ("not positive"), two labels, and words that are not in the table ("mixed", "joyful", a
bare "1") give None: neutral is not a default.

    parse_label("**Very positive.**", {})      # Polarity.POSITIVE
    parse_label("not positive", {})            # None
"""

import re
import unicodedata
from collections import ChainMap
from collections.abc import Mapping

from gen_msa.types import Polarity

_LABEL_WORDS = {
    Polarity.NEGATIVE: """negative neg -1 negativ negative negativer negatives negativo negativa
        négatif négative negatif negatief negatieve negatywny negatywna негативный негативная
        негативное отрицательный отрицательная отрицательное سلبي سلبية السلبي olumsuz
        नकारात्मक 负面 负向 负 消极 贬义 負面 負向 負 消極 ネガティブ 否定的 부정 부정적 tiêu_cực""",
    Polarity.NEUTRAL: """neutral neu neut neutrale neutraler neutrales neutro neutra neutre neutraal
        neutralny neutralna нейтральный нейтральная нейтральное محايد محايدة المحايد nötr
        तटस्थ 中性 中立 ニュートラル 중립 중립적 trung_lập""",
    Polarity.POSITIVE: """positive pos +1 positiv positiver positives positivo positiva positif
        positief positieve pozytywny pozytywna позитивный позитивная позитивное положительный
        положительная положительное إيجابي ايجابي إيجابية ايجابية الإيجابي olumlu
        सकारात्मक 正面 正向 正 积极 褒义 積極 ポジティブ 肯定的 긍정 긍정적 tích_cực""",
}
_FILLER_TEXT = """very slightly mostly strongly somewhat clearly quite overall rather weakly mildly
    highly extremely generally largely mainly really definitely the a is it sentiment polarity label
    tone answer muy très sehr"""
_FILLERS = frozenset(_FILLER_TEXT.split())

_CJK = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_SYMBOLS = re.compile("[\u2190-\u21ff\u2300-\u2bff\ufe0f\u200b-\u200f\U0001f000-\U0001faff]")
_HEAD_ENDS = re.compile(r"[.。;；,，、:：()（）\[\]!！|\n—–]| - |\b(?:because|since|as|due)\b")
_CJK_FILLERS = re.compile("情感|情绪|情緒|评价|評價|倾向|感情|非常|很|的")
_WRAPPING_CHARS = "*_\"'`“”‘’„«»「」『』<>[]{}()（）#~=\\/ \t"
MAX_CHARS = 300
"""Characters of a value in which a label is searched."""


def _fold(word: str) -> str:
    return unicodedata.normalize("NFKC", word).casefold().replace("−", "-")


LABEL_TABLE = {
    _fold(w.replace("_", " ")): p for p, words in _LABEL_WORDS.items() for w in words.split()
}
"""The polarity of each known word, case-folded."""

_LABEL_PATTERN = re.compile(
    "|".join(
        re.escape(w) if re.match(f"[{_CJK}]", w) else rf"(?<!\w){re.escape(w)}(?!\w)"
        for w in sorted(LABEL_TABLE, key=len, reverse=True)
        if len(w) > 3 or (re.match(f"[{_CJK}]", w) and len(w) > 1)
    )
)


def parse_label(value: str, label_words: Mapping[str, Polarity]) -> Polarity | None:
    """Return the only polarity that `value` names, or None.

    Args:
        value: The text of a label field. Text after a full stop or a comma may be anything but
            another label.
        label_words: The polarity of each label word of the prompt; they take precedence.
    """
    text = _SYMBOLS.sub(" ", _fold(value[:MAX_CHARS])).strip(_WRAPPING_CHARS + "\n")
    prompt_labels = {_fold(w): p for w, p in label_words.items()}
    table = ChainMap(prompt_labels, LABEL_TABLE)
    if text in prompt_labels:
        return prompt_labels[text]
    end = _HEAD_ENDS.search(text)
    head, tail = (text[: end.start()], text[end.start() :]) if end else (text, "")
    label = _head_label(head, table)
    other_labels = {LABEL_TABLE[m.group()] for m in _LABEL_PATTERN.finditer(tail)}
    other_labels |= {p for w, p in prompt_labels.items() if len(w) > 1 and f" {w} " in f" {tail} "}
    return None if other_labels - {label} else label


def _head_label(head: str, table: Mapping[str, Polarity]) -> Polarity | None:
    if head in table:
        return table[head]
    if re.search(f"[{_CJK}]", head):
        head = _CJK_FILLERS.sub(" ", head)
    words = [w for raw in head.split() if (w := raw.strip(_WRAPPING_CHARS)) and w.strip("-•")]
    labels = {table.get(w) for w in words if w in table or w not in _FILLERS}
    return labels.pop() if len(labels) == 1 else None
