"""Small evaluations: posts about a phone with gold, and annotators with given labels."""

from gen_msa.types import Aspect, Example, Media, Opinion, Polarity, Post

TERM = Aspect(term="phone", start=4)


def example(number, gold, image=None, **predictions):
    """Build one post about a phone with its gold label and `annotator=label` ("": unparsed)."""
    media = (Media(kind="image", path=image),) if image else ()
    post = Post(id=f"p{number}", text="The phone is not what I hoped", media=media, aspects=(TERM,))
    opinions = [Opinion(annotator="gold", aspect=TERM, polarity=gold)] if gold else []
    return Example(
        post=post,
        opinions=(
            *opinions,
            *(opinion(annotator, label) for annotator, label in predictions.items()),
        ),
    )


def opinion(annotator, label, explanation=None):
    """Build one opinion about the phone with probability 0.75 for its label."""
    probs = {p: 0.75 if p == label else 0.125 for p in Polarity} if label else None
    return Opinion(
        annotator=annotator,
        aspect=TERM,
        polarity=label or None,
        probs=probs,
        explanation=explanation,
    )


def write_examples(path, examples):
    """Write a JSONL file of examples."""
    path.write_text("".join(f"{e.model_dump_json()}\n" for e in examples), encoding="utf-8")
    return path
