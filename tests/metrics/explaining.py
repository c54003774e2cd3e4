"""Rows for the tests of families about explanations: made by hand, and the shipped tiny posts."""

from gen_msa.data import open_source
from gen_msa.metrics import Pair, metrics
from gen_msa.types import Aspect, Example, Opinion, Post


def pair(text, term, explanation, *others, post="1", shown=None, how=None):
    """One row: what is said of `term`, in a post that has the `others` as aspects too."""
    aspects = tuple(
        Aspect(term=t, start=text.find(t) if t in text else None) for t in (term, *others) if t
    )
    about = aspects[0] if term else Aspect(term="")
    said = Opinion(by="me", aspect=about, explanation=explanation, how=how or {})
    return Pair(Post(id=post, text=text, aspects=aspects), None, said, post, shown or {})


def silent(text="Nothing", post="1"):
    """A row about which the reader said nothing."""
    return Pair(Post(id=post, text=text), Opinion(by="gold"), None, post)


def figures(name, pairs):
    """Every figure of an additive family, as plain numbers."""
    family = metrics[name]()
    rows = family.rows(pairs)
    assert rows.shape[0] == len(pairs)
    assert not rows[rows[:, 0] == 0].any()
    values = family.values(rows.sum(axis=0))
    assert list(values) == [f.name for f in family.figures]
    return {k: float(v) for k, v in values.items()}


def shipped():
    """The tiny posts that ship, their gold explanations said by a reader."""
    found = [e for e in open_source("tiny").rows() if isinstance(e, Example)]
    return [
        Pair(e.post, o, o, e.post.id, _shown(e.post))
        for e in found
        for o in e.said_by("gold")
        if o.aspect.term
    ]


def _shown(post):
    objects = post.meta.get("objects") or []
    return {"caption": str(post.meta.get("caption") or ""), "objects": ", ".join(objects)}
