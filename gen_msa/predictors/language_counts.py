"""Count the languages of posts, from the provenance of their opinions.

language_lines(Counter(en=3, es=1), "builtin")
# ['languages: 3 en, 1 es', '1 post in a language that builtin was not trained on (es)']
"""

from collections import Counter
from collections.abc import Sequence

from gen_msa import builtin
from gen_msa.language import UNKNOWN
from gen_msa.types import Opinion


def count_language(opinions: Sequence[Opinion]) -> Counter[str]:
    """Count one post by its language.

    Args:
        opinions: What a model answered about the post.

    Returns:
        The language, once; empty if the opinions name none.
    """
    language = opinions[0].provenance.get("language") if opinions else None
    return Counter([language]) if language else Counter()


def trained_languages(model: str) -> frozenset[str] | None:
    """Return the languages that a model was trained on; None if that is not known.

    Args:
        model: Name of the model, as in `PredictorSettings.model`.
    """
    return builtin.LANGUAGES if model.partition(":")[0] == "builtin" else None


def language_lines(counts: Counter[str], model: str) -> list[str]:
    """Return the counts, and how many posts the model was not trained for, as lines.

    Args:
        counts: Posts by language.
        model: Name of the model.

    Returns:
        No line without counts.
    """
    if not counts:
        return []
    ordered = sorted(counts, key=lambda code: (code == UNKNOWN, -counts[code], code))
    lines = ["languages: " + ", ".join(f"{counts[code]:,} {code}" for code in ordered)]
    trained = trained_languages(model)
    foreign = [c for c in ordered if trained and c != UNKNOWN and c not in trained]
    if foreign:
        n_posts = sum(counts[code] for code in foreign)
        posts = "1 post in a language" if n_posts == 1 else f"{n_posts:,} posts in languages"
        lines.append(f"{posts} that {model} was not trained on ({', '.join(foreign)})")
    return lines
