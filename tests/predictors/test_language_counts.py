"""The last lines of a job name the languages of its posts, and those new to the model."""

from collections import Counter

import pytest

from gen_msa.predictors.language_counts import count_language, language_lines
from gen_msa.types import Opinion


@pytest.mark.parametrize(
    ("counts", "model", "expected"),
    [
        ({}, "builtin", []),
        ({"en": 3, "unknown": 9}, "builtin", ["languages: 3 en, 9 unknown"]),
        (
            {"en": 1, "es": 1},
            "builtin",
            ["languages: 1 en, 1 es", "1 post in a language that builtin was not trained on (es)"],
        ),
        (
            {"de": 2, "zh": 1_000, "unknown": 1},
            "builtin",
            [
                "languages: 1,000 zh, 2 de, 1 unknown",
                "1,002 posts in languages that builtin was not trained on (zh, de)",
            ],
        ),
        ({"es": 2}, "http:localhost#m", ["languages: 2 es"]),
    ],
)
def test_lines_add_up(counts: dict[str, int], model: str, expected: list[str]) -> None:
    assert language_lines(Counter(counts), model) == expected


def test_post_is_counted_once_and_only_with_a_language() -> None:
    opinion = Opinion(annotator="m", provenance={"language": "es"})
    assert count_language([opinion, opinion]) == {"es": 1}
    assert count_language([Opinion(annotator="m")]) == {}
    assert count_language([]) == {}
