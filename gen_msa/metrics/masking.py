"""Takes the names of the labels out of an explanation, so that what is left must carry the answer.

Names of the three classes and their inflections and nearest synonyms, in the languages of our data,
and verdicts that stand for one (`speaks against`, `praise for`); not words of feeling: `"awful"` is
a reason, `negative` is the answer. No list is whole: a reader with a turn of phrase for each label
still tells it, which is why simulatability looks at the quoted words alone too. Knows nothing of
readers.

    masked("The tone is clearly negative: awful", ("negativ",))     # "The tone is clearly : awful"
"""

import re
from collections.abc import Iterable

_LABEL_NAMES = (
    r"(?:un)?favou?rabl[ey]\w*",
    r"(?:dis)?approv(?:al|ing|ingly)",
    r"(?:anti|sym)path(?:etic|y)\w*",
    r"(?:non-?|semi-?)?positi[vf]\w*",
    r"(?:non-?)?negati[vf]\w*",
    r"(?:non-?)?neutr[aeo]\w*",
    r"impartial\w*",
    r"indifferen\w*",
    r"ambivalen\w*",
    r"unbiased",
    r"objectiv\w*",
    r"(?:un)?emotional\w*",
    r"adverse\w*",
    r"(?:opti|pessi)mis\w*",
    r"pos|neg|neu",
    r"prais\w*|blam(?:e[ds]?|ing)|complain\w*|compliment\w*|critici[sz]\w*|condemn\w*",
    r"(?:speaks?|said|says?|spoken) (?:for or against|for|against)",
    r"without (?:an? |any )?(?:opinion|judge?ment|verdict|sentiment)",
)
_UNSPACED = (
    "积极|消极|中性|中立|正面|负面|肯定|否定|ポジティブ|ネガティブ|ニュートラル|긍정|부정|중립"
)
_LABEL_PATTERN = re.compile(rf"\b(?:{'|'.join(_LABEL_NAMES)})\b|(?:{_UNSPACED})", re.IGNORECASE)


def mask_labels(explanation: str, labels: Iterable[str] = ()) -> str:
    """The explanation without the names of labels; `labels` are those of a prompt of one's own."""
    text = _LABEL_PATTERN.sub(" ", explanation)
    for label in sorted({w for w in labels if w.strip()}, key=len, reverse=True):
        boundary = r"\b" if label[0].isascii() else ""
        text = re.sub(rf"{boundary}{re.escape(label)}{boundary}", " ", text, flags=re.IGNORECASE)
    return " ".join(text.split())
