"""Rows for tests of the families about explanations: hand-made ones, and the tiny data set."""

from gen_msa.data import open_examples
from gen_msa.metrics import Pair, metrics
from gen_msa.types import Aspect, Example, Opinion, Post


def pair(text, term, explanation, *others, post="1", extra_inputs=None, provenance=None):
    """Return one row: an explanation about `term`, in a post with the `others` as aspects too."""
    aspects = tuple(
        Aspect(term=t, start=text.find(t) if t in text else None) for t in (term, *others) if t
    )
    aspect = aspects[0] if term else Aspect(term="")
    prediction = Opinion(
        annotator="me", aspect=aspect, explanation=explanation, provenance=provenance or {}
    )
    return Pair(
        Post(id=post, text=text, aspects=aspects), None, prediction, post, extra_inputs or {}
    )


def pair_without_prediction(text="Nothing", post="1"):
    """Return a row without a prediction."""
    return Pair(Post(id=post, text=text), Opinion(annotator="gold"), None, post)


def compute_metrics(name, pairs):
    """Return every metric of a family as a float."""
    family = metrics[name]()
    row_statistics = family.row_statistics(pairs)
    assert row_statistics.shape[0] == len(pairs)
    assert not row_statistics[row_statistics[:, 0] == 0].any()
    values = family.compute(row_statistics.sum(axis=0))
    assert list(values) == [f.name for f in family.specs]
    return {k: float(v) for k, v in values.items()}


def tiny_pairs():
    """Return the tiny data set with its gold explanations as predictions."""
    examples = [e for e in open_examples("tiny").rows() if isinstance(e, Example)]
    return [
        Pair(e.post, o, o, e.post.id, _image_texts(e.post))
        for e in examples
        for o in e.opinions_by("gold")
        if o.aspect.term
    ]


def _image_texts(post):
    objects = post.meta.get("objects") or []
    return {"caption": str(post.meta.get("caption") or ""), "objects": ", ".join(objects)}
