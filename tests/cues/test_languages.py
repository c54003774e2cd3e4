"""A post is parsed by a parser for its language only; each place says which, or that there is none.

The Spanish model is a package made here: spaCy's own Spanish tokenizer with a rule for heads.
"""

import sys
from pathlib import Path

import pytest

from gen_msa.annotation import JobSettings, annotate
from gen_msa.cues.parsing import aspect_candidates, spacy_pipeline
from gen_msa.cues.syntax import SyntaxCues, SyntaxOptions
from gen_msa.data import open_examples
from gen_msa.errors import UserError
from gen_msa.predictors import PredictorSettings
from gen_msa.predictors.prompted.build_requests import select_aspects
from gen_msa.settings import load
from gen_msa.types import Aspect, Cue, Post
from tests.fixtures.commands import run

SPANISH = Post(
    id="es",
    text="El servicio fue horrible pero la comida estaba muy buena",
    aspects=(Aspect(term="servicio", start=3), Aspect(term="comida", start=33)),
)
CHINESE = Post(
    id="zh",
    text="这家餐厅的服务很差，但是菜很好吃",
    aspects=(Aspect(term="服务", start=5),),
)
ENGLISH = Post(
    id="en",
    text="The screen is great but the battery is awful.",
    aspects=(Aspect(term="screen", start=4),),
)

SPANISH_PACKAGE = """
import spacy
from spacy.language import Language

NOUNS = {"servicio", "comida"}
HEADS = {"servicio": "horrible", "fue": "horrible", "comida": "buena", "estaba": "buena"}


@Language.component("spanish_rule")
def tag(doc):
    words = [t.text for t in doc]
    for t in doc:
        t.pos_ = "NOUN" if t.text in NOUNS else "ADJ"
        head = doc[words.index(HEADS[t.text])] if t.text in HEADS else t
        t.head = head
        t.dep_ = ("nsubj" if t.text in NOUNS else "cop") if head is not t else "ROOT"
    return doc


def load(exclude=()):
    nlp = spacy.blank("es")
    nlp.add_pipe("spanish_rule", name="morphologizer")
    return nlp
"""


@pytest.fixture
def spanish_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = "es_core_news_sm"
    (tmp_path / f"{name}.py").write_text(SPANISH_PACKAGE)
    info = tmp_path / f"{name}-3.8.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 3.8.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    _forget_models()
    yield name
    _forget_models()
    sys.modules.pop(name, None)


def _forget_models() -> None:
    spacy_pipeline.installed_model.cache_clear()
    spacy_pipeline.load_pipeline.cache_clear()


def cues_of(*posts: Post, **options: object) -> list[tuple[Cue, ...]]:
    return SyntaxCues(SyntaxOptions.model_validate(options)).cues(posts)


def test_post_without_a_parser_for_its_language_gets_the_window() -> None:
    (spanish, chinese) = cues_of(SPANISH, CHINESE)
    assert {c.source for c in spanish} == {"window: no parser for es"}
    assert "horrible" in spanish[0].text
    assert {c.source for c in chinese} == {"window: no parser for zh"}


@pytest.mark.models
def test_installed_parser_of_the_language_is_used_and_named(spanish_model: str) -> None:
    english, spanish, chinese = cues_of(ENGLISH, SPANISH, CHINESE)
    assert [c.source for c in english] == ["spacy"]
    assert [c.source for c in spanish] == [f"spacy:{spanish_model}"] * 2
    assert "horrible" in spanish[0].text
    assert "horrible" not in spanish[1].text
    assert chinese[0].source == "window: no parser for zh"


@pytest.mark.models
def test_model_of_the_options_parses_posts_in_its_language(spanish_model: str) -> None:
    english, spanish = cues_of(ENGLISH, SPANISH, model=spanish_model)
    assert [c.source for c in spanish] == ["spacy"] * 2
    assert english[0].source == "window: no parser for en"


@pytest.mark.models
def test_setting_replaces_detection() -> None:
    ((cue, _),) = cues_of(SPANISH, language="en")
    assert cue.source == "spacy"
    ((cue,),) = cues_of(ENGLISH, language="fi")
    assert cue.source == "window: no parser for fi"


@pytest.mark.models
def test_aspects_are_proposed_only_where_a_parser_knows_the_language() -> None:
    posts = [p.model_copy(update={"aspects": ()}) for p in (SPANISH, ENGLISH, CHINESE)]
    spanish, english, chinese = select_aspects(posts, PredictorSettings(aspects="parse"))
    assert [a.term for a in english.aspects] == ["screen", "battery"]
    assert (english.source, english.language) == ("parse", "en")
    assert (spanish.source, spanish.language) == ("overall: no parser for es", "es")
    assert (chinese.source, chinese.language) == ("overall: no parser for zh", "zh")
    assert [a.term for a in spanish.aspects] == [""]


@pytest.mark.models
def test_aspects_are_proposed_from_the_parser_of_the_language(spanish_model: str) -> None:
    (aspects,) = aspect_candidates([SPANISH])
    assert {a.term for a in aspects} == {"servicio", "comida"}
    assert all(SPANISH.text.startswith(a.term, a.start) for a in aspects)


def test_fingerprint_names_parsers_and_language(spanish_model: str) -> None:
    with_model = SyntaxCues(SyntaxOptions()).fingerprint()
    assert with_model != SyntaxCues(SyntaxOptions(language="es")).fingerprint()
    (Path(sys.path[0]) / f"{spanish_model}.py").unlink()
    spacy_pipeline.installed_model.cache_clear()
    assert with_model != SyntaxCues(SyntaxOptions()).fingerprint()


@pytest.mark.parametrize("language", ["english", "EN", "e", "en-US", ""])
def test_wrong_language_is_refused(language: str) -> None:
    with pytest.raises(UserError, match="ISO 639"):
        load(PredictorSettings, None, [f"language={language!r}"])


@pytest.fixture
def posts_file(tmp_path: Path) -> Path:
    path = tmp_path / "posts.jsonl"
    path.write_text("".join(f"{p.model_dump_json()}\n" for p in (SPANISH, CHINESE, ENGLISH)))
    return path


def test_job_names_and_counts_languages(posts_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "o.jsonl"
    result = annotate(open_examples(str(posts_file)), out, JobSettings(model="echo", cues={}))
    assert result.counts.languages == {"es": 1, "zh": 1, "en": 1}
    languages = [
        {o.provenance["language"] for o in row.opinions_by("echo")}
        for row in open_examples(str(out)).rows()
    ]
    assert languages == [{"es"}, {"zh"}, {"en"}]


def test_last_lines_of_explain_count_languages(posts_file, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    run("explain posts.jsonl -m echo -o o.jsonl cues={}", monkeypatch, capfd)
    assert "languages: 1 en, 1 es, 1 zh" in capfd.readouterr().err
    run("explain posts.jsonl -m echo -o p.jsonl cues={} language=fi", monkeypatch, capfd)
    assert "languages: 3 fi" in capfd.readouterr().err
