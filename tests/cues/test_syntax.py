"""Test the syntax cue: source of the tree, content, and robustness."""

import time

import pytest

from gen_msa.cues.parsing import spacy_pipeline
from gen_msa.cues.syntax import SyntaxCues, SyntaxOptions
from gen_msa.errors import MissingExtra, UserError
from gen_msa.types import OVERALL_ASPECT, Aspect, Cue, Parse, Post, Token
from tests.cues.parsing.trees import SCREEN_UNIVERSAL, post_of

OPPOSITE = Post(
    id="1",
    text="The screen is great but the battery wasn't worth the money.",
    aspects=(Aspect(term="screen", start=4), Aspect(term="battery", start=28)),
)


def cues_of(*posts: Post, **options: object) -> list[tuple[Cue, ...]]:
    return SyntaxCues(SyntaxOptions.model_validate(options)).cues(posts)


def test_parse_of_post_is_used_and_named_in_source() -> None:
    ((screen, battery),) = cues_of(post_of(SCREEN_UNIVERSAL, "screen", "battery"))
    assert screen == Cue(text="screen is great", source="heads:hand")
    assert battery == Cue(text="battery is awful", source="heads:hand")


@pytest.mark.models
def test_text_without_parse_is_parsed_by_spacy() -> None:
    ((screen, battery),) = cues_of(OPPOSITE)
    assert screen == Cue(text="screen is great", source="spacy")
    assert battery == Cue(text="battery wasn't worth the money", source="spacy")


@pytest.mark.models
def test_posts_with_and_without_parse_keep_their_order() -> None:
    parsed, without_parse = post_of(SCREEN_UNIVERSAL, "screen"), Post(id="n", text="Nothing here")
    sources = [
        [c.source for c in cues] for cues in cues_of(OPPOSITE, without_parse, parsed, OPPOSITE)
    ]
    assert sources == [["spacy"] * 2, [], ["heads:hand"], ["spacy"] * 2]


@pytest.mark.models
@pytest.mark.parametrize("form", ["phrase", "paths", "triples"])
def test_opposite_aspects_share_no_opinion_word(form: str) -> None:
    ((screen, battery),) = cues_of(OPPOSITE, form=form)
    assert "great" in screen.text
    assert "worth" not in screen.text
    assert "worth" in battery.text
    assert "n't" in battery.text
    assert "great" not in battery.text
    ((screen, battery),) = cues_of(OPPOSITE, form=form, rival_cut=False)
    assert "great" in screen.text
    assert "great" in battery.text


@pytest.mark.models
def test_contraction_is_not_split_before_its_negator() -> None:
    text = "I can't expect better for the prices."
    post = Post(id="1", text=text, aspects=(Aspect(term="prices", start=text.index("prices")),))
    assert cues_of(post)[0][0].text == "can't expect better for the prices"


def test_window_cue_names_its_source() -> None:
    ((screen, _),) = cues_of(OPPOSITE, parser="window")
    assert screen.source == "window"
    assert "screen" in screen.text


def test_auto_parser_falls_back_to_window_without_spacy_model() -> None:
    ((screen, _),) = cues_of(OPPOSITE, model="xx_no_such_model")
    assert screen.source == "window"
    ((screen, _),) = cues_of(post_of(SCREEN_UNIVERSAL, "screen", "battery"), model="xx_no_such")
    assert screen.source == "heads:hand"


def test_spacy_parser_without_model_raises_missing_extra() -> None:
    with pytest.raises(MissingExtra, match=r"gen-msa\[builtin\]"):
        cues_of(OPPOSITE, parser="spacy", model="xx_no_such_model")


def test_model_path_is_refused() -> None:
    with pytest.raises(UserError, match="not a spaCy model package"):
        cues_of(OPPOSITE, model="./models/en")


def test_heads_parser_notes_missing_parse_in_source() -> None:
    ((screen, _),) = cues_of(OPPOSITE, parser="heads")
    assert screen == Cue(text="", source="heads: the post has no parse")


def test_cyclic_parse_is_not_used() -> None:
    tokens = (
        Token(text="a", start=0, head=1, rel="dep"),
        Token(text="b", start=2, head=0, rel="dep"),
    )
    aspects = (Aspect(term="a", start=0),)
    post = Post(id="1", text="a b", aspects=aspects, parse=Parse(tokens=tokens, parser="x"))
    ((cue,),) = cues_of(post, parser="auto", model="xx_no_such_model")
    assert cue.source == "window"


def test_unlocated_aspect_gets_main_predicates() -> None:
    post = post_of(SCREEN_UNIVERSAL).model_copy(
        update={"aspects": (OVERALL_ASPECT, Aspect(term="price"))}
    )
    ((overall, price),) = cues_of(post)
    assert overall.source == price.source == "heads:hand:predicates"
    assert overall.text == price.text
    assert "great" in overall.text


def test_single_word_post_gives_empty_cue() -> None:
    ((cue,),) = cues_of(post_of("Battery 0 root NN", "Battery"))
    assert cue == Cue(text="", source="heads:hand")


@pytest.mark.models
@pytest.mark.parametrize(
    ("text", "term", "source"),
    [
        ("这个电池很糟糕，但是屏幕很好", "电池", "window: no parser for zh"),
        ("الشاشة رائعة لكن البطارية سيئة", "البطارية", "window: no parser for ar"),
        ("батарея ужасная", "батарея", "window"),
    ],
)
def test_aspect_in_other_script_gets_window(text: str, term: str, source: str) -> None:
    post = Post(id="1", text=text, aspects=(Aspect(term=term, start=text.index(term)),))
    ((cue,),) = cues_of(post)
    assert cue.source == source
    assert term in cue.text


@pytest.mark.models
@pytest.mark.parametrize(
    "text",
    ["battery " + "😀" * 24_000, "battery http://x.y/" + "a/" * 50_000, "battery is bad. " * 6_250,
     "battery " + "not " * 25_000],
    ids=["emoji", "url", "sentences", "negators"],
)  # fmt: skip
def test_100_kb_text_takes_bounded_time_and_gives_short_cue(text: str) -> None:
    spacy_pipeline.load_pipeline(spacy_pipeline.MODEL)
    started = time.process_time()
    ((cue,),) = cues_of(Post(id="1", text=text, aspects=(Aspect(term="battery", start=0),)))
    assert time.process_time() - started < 30
    assert len(cue.text) < 1000


@pytest.mark.models
def test_text_too_long_to_parse_gets_window() -> None:
    text = "battery is bad. " * (spacy_pipeline.MAX_CHARS // 16 + 1)
    ((cue,),) = cues_of(Post(id="1", text=text, aspects=(Aspect(term="battery", start=0),)))
    assert cue == Cue(text="battery is bad. battery is bad. ...", source="window")


@pytest.mark.models
def test_term_inside_long_letter_run_gets_window() -> None:
    text = "see " + "a" * 300 + "battery" + "b" * 300
    ((cue,),) = cues_of(Post(id="1", text=text, aspects=(Aspect(term="battery", start=304),)))
    assert cue.source == "window"
    assert len(cue.text) < 500


@pytest.mark.models
def test_token_offsets_are_exact_for_pretokenized_long_run() -> None:
    text = "  The screen \n\tis " + "x" * 250 + "  great\u00a0today, the battery  is awful."
    trees = spacy_pipeline.map_trees([text, "Fine."], spacy_pipeline.MODEL, lambda i, tree: tree)
    assert [t.text for t in trees] == [text, "Fine."]
    words = [trees[0].token_text(i) for i in range(len(trees[0].heads))]
    assert {"screen", "x" * 250, "great", "battery", "awful"} <= set(words)


@pytest.mark.models
def test_vocabulary_is_pruned_once_large(monkeypatch: pytest.MonkeyPatch) -> None:
    nlp = spacy_pipeline.load_pipeline(spacy_pipeline.MODEL)
    assert count_tokens("zzheard") == 500
    assert "zzheard7" in nlp.vocab.strings
    monkeypatch.setattr(spacy_pipeline, "MAX_VOCABULARY", len(nlp.vocab))
    assert count_tokens("zzforgotten") == 500
    assert "zzforgotten7" not in nlp.vocab.strings
    assert "zzforgotten7" not in nlp.vocab


def count_tokens(prefix: str) -> int:
    text = " ".join(f"{prefix}{i}" for i in range(500))
    return spacy_pipeline.map_trees([text], spacy_pipeline.MODEL, lambda i, tree: len(tree.heads))[
        0
    ]


def test_fingerprint_depends_on_model_and_every_option() -> None:
    fingerprints = [
        SyntaxCues(SyntaxOptions.model_validate(o)).fingerprint()
        for o in ({}, {"k": 3}, {"form": "paths"}, {"parser": "window"}, {"model": "xx_no_such"},
                  {"drop": ["punct"]}, {"rival_cut": False}, {"window": 3}, {"max_words": 9})
    ]  # fmt: skip
    assert len(set(fingerprints)) == len(fingerprints)
    assert fingerprints[0] == SyntaxCues(SyntaxOptions()).fingerprint()
