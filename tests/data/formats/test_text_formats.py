"""Test the text formats of aspect sentiment papers: ASTE, ASQP, ACOS, PyABSA, InstructABSA."""

from pathlib import Path

import pytest

from gen_msa.data.formats import format_of_file, formats
from gen_msa.errors import UserError
from gen_msa.types import Aspect, Evidence, Example, Polarity, Post, Rejected
from tests.data.builders import gold_opinion

Labels = dict[tuple[str, int | None], str | None]


def read(name: str, path: Path, text: str) -> list[Example | Rejected]:
    path.write_text(text, encoding="utf-8")
    assert format_of_file(path) is formats[name]
    return list(formats[name].read(path))


def labels(row: Example | Rejected, annotator: str = "gold") -> Labels:
    assert isinstance(row, Example), row
    return {
        (o.aspect.term, o.aspect.start): o.polarity or o.raw for o in row.opinions_by(annotator)
    }


def quotes(row: Example | Rejected) -> list[list[tuple[str, int | None]]]:
    assert isinstance(row, Example), row
    return [[(e.quote, e.start) for e in o.evidence] for o in row.opinions_by("gold")]


def test_aste_triplets_have_offsets_and_opinion_words(tmp_path: Path) -> None:
    text = (
        "the tea is good but the cup is bad####"
        "[([1], [3], 'POS'), ([6], [8], 'NEG'), ([1], [8], 'POS')]\n"
        "never again####[([-1], [0, 1], 'NEG')]\n"
        "tea####[([4], [0], 'POS')]\n"
        "tea####[([0], 'POS')]\n"
    )
    first, implicit, out_of_range, no_triplet = read("aste", tmp_path / "a.txt", text)
    assert labels(first) == {("tea", 4): "positive", ("cup", 24): "negative"}
    assert quotes(first) == [[("good", 11), ("bad", 31)], [("bad", 31)]]
    assert labels(implicit) == {("NULL", None): "negative"}
    assert isinstance(out_of_range, Rejected)
    assert (out_of_range.line, "words 4 to 5 are not in" in out_of_range.reason) == (3, True)
    assert isinstance(no_triplet, Rejected)


def test_aste_round_trips_and_names_what_it_cannot_store(tmp_path: Path) -> None:
    tea = gold_opinion(Aspect(term="tea", start=0), "positive")
    evidence = (Evidence(quote="very good", start=7),)
    post = Post(id="a-1", text="tea is very good", aspects=(tea.aspect,))
    example = Example(post=post, opinions=(tea.model_copy(update={"evidence": evidence}),))
    formats["aste"].write(tmp_path / "a.txt", [example])
    assert (tmp_path / "a.txt").read_text() == "tea is very good####[([0], [2, 3], 'POS')]\n"
    assert list(formats["aste"].read(tmp_path / "a.txt")) == [example]
    part = example.model_copy(
        update={"opinions": (gold_opinion(Aspect(term="te", start=0), "positive"),)}
    )
    with pytest.raises(UserError, match=r"aste cannot store post\.aspects of post 'a-1'"):
        formats["aste"].write(tmp_path / "b.txt", [part])


def test_asqp_quadruples_have_categories_and_implicit_aspects(tmp_path: Path) -> None:
    text = (
        "The tea is good####[['tea', 'drinks quality', 'positive', 'good'],"
        " ['tea', 'drinks prices', 'negative', 'NULL']]\n"
        "never again####[['NULL', 'restaurant general', 'negative', 'NULL']]\n"
        "tea####[['tea', 'drinks', 3]]\n"
    )
    both, implicit, broken = read("asqp", tmp_path / "a.txt", text)
    assert labels(both) == {("tea", 4): "conflict"}
    assert labels(both, "gold_category") == {
        ("drinks quality", None): "positive",
        ("drinks prices", None): "negative",
    }
    assert quotes(both) == [[("good", 11)]]
    assert isinstance(both, Example)
    assert both.opinions[0].provenance == {"category": "drinks quality, drinks prices"}
    assert (labels(implicit), labels(implicit, "gold_category")) == (
        {},
        {("restaurant general", None): "negative"},
    )
    assert isinstance(broken, Rejected)


def test_acos_quadruples_are_spans_of_words(tmp_path: Path) -> None:
    text = (
        "the iced tea is good\t1,3 FOOD#QUALITY 2 4,5\t-1,-1 FOOD#PRICES 1 -1,-1\n"
        "tea\t0,9 FOOD#QUALITY 2 0,1\n"
        "tea\t0,1 FOOD#QUALITY 7 0,1\n"
        "no tab\n"
    )
    first, *others = read("acos", tmp_path / "a.tsv", text)
    assert labels(first) == {("iced tea", 4): "positive"}
    assert quotes(first) == [[("good", 16)]]
    assert labels(first, "gold_category") == {
        ("FOOD#QUALITY", None): "positive",
        ("FOOD#PRICES", None): "neutral",
    }
    assert [isinstance(r, Rejected) for r in others] == [True] * 3


@pytest.mark.parametrize("name", ["a.seg", "a.apc", "train.raw", "a.txt"])
def test_three_lines_an_aspect_are_joined_to_posts(name: str, tmp_path: Path) -> None:
    text = (
        "the $T$ is good , the cup bad\ntea\nPositive\n"
        "the tea is good , the $T$ bad\ncup\n-1\n"
        "no $T$ at all\ncake\n-100\n"
    )
    first, second = read("pyabsa", tmp_path / name, text)
    assert labels(first) == {("tea", 4): "positive", ("cup", 22): "negative"}
    assert labels(second) == {}
    assert isinstance(second, Example)
    assert second.post.aspects == (Aspect(term="cake", start=3),)


def test_damaged_three_lines_cost_one_aspect(tmp_path: Path) -> None:
    text = "a $T$\ntea\nPositive\nb $T$\ncup\nc $T$ and $T$\ncup\nNegative\nd $T$\ncake\n1\n"
    first, short, doubled, last = read("pyabsa", tmp_path / "a.seg", text)
    assert (labels(first), labels(last)) == ({("tea", 2): "positive"}, {("cake", 2): "positive"})
    assert isinstance(short, Rejected)
    assert (short.line, "2 lines instead of three" in short.reason) == (4, True)
    assert isinstance(doubled, Rejected)
    assert "2 markers" in doubled.reason


def test_tagged_words_are_joined_to_posts(tmp_path: Path) -> None:
    words = ["the", "iced", "tea", "is", "good", "and", "the", "cup", "bad"]
    blocks = []
    for begin, end, label in ((1, 3, "Positive"), (7, 8, "Negative")):
        tags = ["O -100"] * len(words)
        tags[begin:end] = [f"{'B' if i == begin else 'I'}-ASP {label}" for i in range(begin, end)]
        blocks.append("\n".join(f"{w} {t}" for w, t in zip(words, tags, strict=True)))
    text = "\n\n".join([*blocks, "cake X -100\n", "cake B-ASP Neutral\n"])
    first, rejected, last = read("pyabsa", tmp_path / "a.atepc", text)
    assert labels(first) == {("iced tea", 4): "positive", ("cup", 29): "negative"}
    assert isinstance(rejected, Rejected)
    assert "'cake X -100' is not WORD TAG LABEL" in rejected.reason
    assert labels(last) == {("cake", 0): "neutral"}


def test_pyabsa_round_trips(tmp_path: Path) -> None:
    tea, cup = Aspect(term="tea", start=5), Aspect(term="cup", start=14)
    post = Post(id="a-1", text="good tea, bad cup", aspects=(tea, cup))
    example = Example(post=post, opinions=(gold_opinion(tea, "positive"),))
    formats["pyabsa"].write(tmp_path / "a.seg", [example])
    assert list(formats["pyabsa"].read(tmp_path / "a.seg")) == [example]


def test_instruct_absa_has_terms_and_categories(tmp_path: Path) -> None:
    text = (
        "sentenceId,raw_text,aspectTerms,aspectCategories,split\n"
        """7,"tea, no tea","[{'term': 'tea', 'polarity': 'positive'}, """
        """{'term': 'tea', 'polarity': 'negative'}]","""
        """"[{'category': 'food', 'polarity': 'neutral'}]",train\n"""
        """8,cup,"[{'term': 'noaspectterm', 'polarity': 'none'}]","[]",\n"""
        """9,cup,__import__('os'),"[]",\n"""
    )
    first, empty, code = read("instruct_absa", tmp_path / "a.csv", text)
    assert labels(first) == {("tea", 0): "positive", ("tea", 8): "negative"}
    assert labels(first, "gold_category") == {("food", None): "neutral"}
    assert isinstance(first, Example)
    assert (first.post.id, first.post.meta) == ("7", {"split": "train"})
    assert labels(empty) == {}
    assert isinstance(code, Rejected)
    assert "no Python list" in code.reason


@pytest.mark.parametrize(
    "labels_text",
    ["[" * 50_000, "[" + "('a', 'b', 'c')," * 20_000 + "]", "[[1e999999]]", "9" * 9999],
)
def test_hostile_literals_are_rejected(labels_text: str, tmp_path: Path) -> None:
    text = f"tea####[['tea', 'drinks', 'positive', 'NULL']]\ntea####{labels_text}\n"
    first, rejected = read("asqp", tmp_path / "a.txt", text)
    assert isinstance(first, Example)
    assert first.opinions[0].polarity is Polarity.POSITIVE
    assert isinstance(rejected, Rejected)


@pytest.mark.parametrize("name", ["acos", "asqp", "instruct_absa"])
def test_quadruples_are_only_read(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"{name} cannot store post.id"):
        formats[name].write(tmp_path / "a", [Example(post=Post(id="1", text="tea"))])
