"""Small evaluations of our own words: posts with gold, and readers that say what a test tells."""

from gen_msa.types import Aspect, Example, Media, Opinion, Polarity, Post

TERM = Aspect(term="phone", start=4)


def example(number, gold, image=None, **predictions):
    """One post about a phone, its gold label, and `reader=label` ("": an unread answer)."""
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
    """What one reader says of the phone, a quarter of its belief left to the other classes."""
    probs = {p: 0.75 if p == label else 0.125 for p in Polarity} if label else None
    return Opinion(
        annotator=annotator,
        aspect=TERM,
        polarity=label or None,
        probs=probs,
        explanation=explanation,
    )


def write_examples(path, examples):
    """A JSONL file of examples."""
    path.write_text("".join(f"{e.model_dump_json()}\n" for e in examples), encoding="utf-8")
    return path
