"""Words that claim nothing of a post: those of grammar, of reporting, and of the bare verdict.

For English explanations. Knows nothing of posts. Stems are compared (`stem`), so one form of a
word stands for all.

    stem("giving") == stem("gives")     # True
    "praised" in STOP                   # False; stem("praised") in STOP is True
"""

import hashlib

_GRAMMAR_WORDS = """a about above across after again against all almost along already also although always
    am among an and another any anybody anyone anything are aren't around as aside at away back be
    because been before behind being below beside besides between both but by can can't cannot come
    could couldn't did didn't do does doesn't doing don't done down due during each either else
    enough etc even ever every everyone everything far few first for from further get go got had
    hadn't has hasn't have haven't having he her here hers herself him himself his how however i if
    in indeed instead into is isn't it it's its itself just keep kind last least less let like made
    make many may me might more most much must my myself near neither never no nobody none nor not
    nothing now of off often on once one only onto or other others otherwise our ours out over own
    per perhaps quite rather really same self several shall she should since so some somebody
    someone something still such take than that that's the their theirs them themselves then there
    therefore these they thing this those though through thus till to together too toward towards
    under until up upon us use very via was wasn't way we well were weren't what when where whether
    which while who whole whom whose why will with within without won't would yes yet you your
    yours yourself"""
_REPORTING_WORDS = """according add allude appear aspect author because call caption claim clause comment
    context convey describe description detail display emphasise emphasize evidence explain
    explanation express expression fact frame give highlight image imply indicate indication irony
    joke label language mean mention message name news note object opinion paragraph phrase photo
    photograph picture plain point post present quote read reader reason refer reflect remark report
    sarcasm say said see seem seen sense sentence sentiment show shown sound speak state statement
    stress suggest supply talk tell text think thought told tone towards tweet underline use user
    view visual voice word wording write writer written"""
_VERDICT_WORDS = """
    admire admiration annoy annoyance appreciate appreciation approval approve attitude
    bad
    blame complain complaint critical criticise criticism criticize disappoint disappointment
    disapproval dislike emotion enjoy enthusiasm excited excitement favorable favourable feel
    feeling felt frustrate frustration good happy hate judge judgement judgment like love mixed mock
    mood negative negativity negatively neutral neutrality objective please pleased polarity
    positive poor positively positivity praise regard satisfaction satisfied thank unfavorable
    unfavourable unhappy"""

_ENDINGS = (("ies", "y"), ("ing", ""), ("ed", ""), ("es", ""), ("ly", ""), ("s", ""))


def stem(word: str) -> str:
    """A folded word without the commonest endings of English; at least three letters are left.

    After `'s`, the first ending that fits is taken off (`ies`, which leaves a y, `ing`, `ed`, `es`,
    `ly`, and `s` but not from `ss`), then a doubled last consonant is made one, or a last e goes.
    """
    word = word.removesuffix("'s")
    for ending, replacement in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3 and not word.endswith("ss"):
            word = word[: -len(ending)] + replacement
            break
    if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "aeiou":
        return word[:-1]
    return word.removesuffix("e") if len(word) > 3 else word


STOP_STEMS = frozenset(stem(w) for w in f"{_GRAMMAR_WORDS} {_REPORTING_WORDS} {_VERDICT_WORDS}".split())
"""Stems that are no claims."""

STOP_LIST_DIGEST = hashlib.sha256("\n".join(sorted(STOP_STEMS)).encode()).hexdigest()[:8]
