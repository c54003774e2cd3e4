"""Test the data sets against the counts in the README of the data folder, if the data exist."""

import json
import os
from collections import Counter
from pathlib import Path

import pytest

from gen_msa.data import datasets, open_examples
from gen_msa.data.formats import formats
from gen_msa.data.mvsa_single import split_of
from gen_msa.errors import UserError
from gen_msa.types import OVERALL_ASPECT, Example, Rejected

DATA_ROOT = Path(os.environ.get("GEN_MSA_DATA", "none"))
requires_data = pytest.mark.skipif(not DATA_ROOT.is_dir(), reason="GEN_MSA_DATA is not set")

P, U, N, NONE = "positive", "neutral", "negative", None
COUNTS = {
    "twitter2015:train": (2101, {P: 928, U: 1883, N: 368}),
    "twitter2015:dev": (727, {P: 303, U: 670, N: 149}),
    "twitter2015:test": (674, {P: 317, U: 607, N: 113}),
    "twitter2017:train": (1746, {P: 1508, U: 1638, N: 416}),
    "twitter2017:dev": (577, {P: 515, U: 517, N: 144}),
    "mams:train": (4297, {P: 3380, U: 5042, N: 2764}),
    "mams:dev": (500, {P: 403, U: 604, N: 325}),
    "mams:test": (500, {P: 400, U: 607, N: 329}),
    "semeval14_laptops:train": (1454, {P: 976, U: 455, N: 851}),
    "semeval14_laptops:test": (409, {P: 337, U: 167, N: 128}),
    "semeval14_restaurants:train": (1980, {P: 2164, U: 637, N: 807}),
    "semeval14_restaurants:test": (599, {P: 727, U: 196, N: 196}),
    "semeval14_tweets:test": (677, {P: 172, U: 336, N: 169}),
    "meld:train": (9989, {P: 2334, U: 4710, N: 2945}),
    "meld:dev": (1109, {P: 233, U: 470, N: 406}),
    "meld:test": (2610, {P: 521, U: 1256, N: 833}),
    "mosi:train": (1057, {P: 516, N: 541}),
    "mosi:dev": (390, {P: 193, N: 197}),
    "mosi:test": (447, {P: 257, N: 190}),
    "mustard:all": (690, {NONE: 690}),
    "more_sarcasm:train": (2983, {NONE: 2983}),
    "more_sarcasm:dev": (175, {NONE: 175}),
    "more_sarcasm:test": (352, {NONE: 352}),
}
"""Posts and gold opinions of each class. Aspects are the sum of the classes."""

ASPECTS = {
    "twitter2015": [3179, 1122, 1037],
    "twitter2017": [3562, 1176],
    "mams": [11186, 1332, 1336],
    "semeval14_laptops": [2282, 632],
    "semeval14_restaurants": [3608, 1119],
    "semeval14_tweets": [677],
}


def load_all(ref: str) -> list[Example]:
    rows = list(open_examples(ref).rows())
    accepted = [r for r in rows if isinstance(r, Example)]
    assert len(accepted) == len(rows)
    return accepted


@requires_data
@pytest.mark.parametrize("ref", COUNTS)
def test_split_has_published_post_and_label_counts(ref: str) -> None:
    posts, classes = COUNTS[ref]
    examples = load_all(ref)
    assert len(examples) == posts
    assert Counter(o.polarity for e in examples for o in e.opinions_by("gold")) == classes
    assert len({e.post.id for e in examples}) == posts
    name, _, split = ref.partition(":")
    if name in ASPECTS:
        published = ASPECTS[name][[r for r in COUNTS if r.startswith(f"{name}:")].index(ref)]
        assert sum(len(e.post.aspects) for e in examples) == sum(classes.values()) == published
        assert all([o.aspect for o in e.opinions] == list(e.post.aspects) for e in examples)
    else:
        assert {o.aspect for e in examples for o in e.opinions} == {OVERALL_ASPECT}
    assert split in datasets[name].splits


@requires_data
def test_mvsa_labels_and_split_sizes() -> None:
    train, dev = load_all("mvsa_single:train"), load_all("mvsa_single:dev")
    assert (len(train), len(dev)) == (3932, 426)
    examples = [*train, *dev]
    polarities = [
        e.opinions_by("gold")[0].polarity if e.opinions_by("gold") else None for e in examples
    ]
    assert Counter(polarities) == {P: 2388, U: 419, N: 1193, NONE: 358}
    assert all(
        len(e.opinions_by("gold_text")) == len(e.opinions_by("gold_image")) == 1 for e in examples
    )
    assert sum("minigpt4_description" in e.post.meta for e in examples) == 808
    root = open_examples("mvsa_single:dev").media_root
    assert all((root / e.post.media[0].path).is_file() for e in examples)


def test_mvsa_split_of_id_is_stable() -> None:
    assert [split_of(str(i)) for i in (10, 11, 45, 46)] == ["train", "dev", "train", "dev"]
    dev = sum(split_of(str(i)) == "dev" for i in range(20_000))
    assert 1900 < dev < 2100


TWITTER = [("2015", s) for s in ("train", "dev", "test")] + [("2017", s) for s in ("train", "dev")]


@requires_data
@pytest.mark.parametrize(("year", "split"), TWITTER)
def test_twitter_formats_give_equal_examples(year: str, split: str) -> None:
    folder = DATA_ROOT / f"twitter{year}"
    from_tsv = load_all(f"twitter{year}:{split}")
    assert list(formats["tombert_txt"].read(folder / f"tombert/{split}.txt")) == from_tsv
    joint = list(formats["joint_json"].read(folder / f"joint_pos_tagged/{split}.json"))
    without_meta = [
        Example(post=e.post.model_copy(update={"meta": {}}), opinions=e.opinions)
        for e in joint
        if isinstance(e, Example)
    ]
    assert without_meta == from_tsv


FILES = [
    *[("tombert_tsv", f"twitter{y}/tombert/{s}.tsv") for y, s in TWITTER if s != "test"],
    *[("joint_json", f"twitter{y}/joint_pos_tagged/{s}.json") for y, s in TWITTER],
    ("stanza_json", "semeval14_dep/Laptops_stanza/train.json"),
    ("stanza_json", "semeval14_dep/Restaurants_stanza/train.json"),
    ("stanza_json", "semeval14_dep/Tweets_stanza/test.json"),
    ("tombert_txt", "twitter2017/tombert/train.txt"),
    ("semeval_xml", "mams_atsa/train.xml"),
    ("meld_csv", "meld/dev.csv"),
]


@requires_data
@pytest.mark.parametrize(("name", "file"), FILES)
def test_published_file_is_rewritten_without_loss(name: str, file: str, tmp_path: Path) -> None:
    path = DATA_ROOT / file
    rows = list(formats[name].read(path))
    copy_path = tmp_path / path.name
    formats[name].write(copy_path, [r for r in rows if isinstance(r, Example)])
    assert list(formats[name].read(copy_path)) == rows
    if name == "tombert_tsv":
        assert copy_path.read_bytes() == path.read_bytes()
    if name == "joint_json":
        assert json.loads(copy_path.read_bytes()) == json.loads(path.read_bytes())
    if name == "stanza_json":
        record_pairs = zip(
            json.loads(copy_path.read_bytes()), json.loads(path.read_bytes()), strict=True
        )
        changed = [a for a, b in record_pairs if a != b]
        assert all({"meta", "sentences"} & set(a) for a in changed)
        assert len(changed) < 0.05 * len(rows)


@requires_data
@pytest.mark.parametrize("name", ["jsonl", "parquet", "csv", "messages", "llava", "sharegpt"])
def test_real_posts_round_trip_in_every_user_format(name: str, tmp_path: Path) -> None:
    examples = [*load_all("twitter2015:dev"), *load_all("mvsa_single:dev")]
    formats[name].write(tmp_path / "posts.csv", examples)
    assert list(formats[name].read(tmp_path / "posts.csv")) == examples


@requires_data
def test_semeval_parse_offsets_are_right_and_moved_spans_noted() -> None:
    examples = [e for r in COUNTS if r.startswith("semeval14") for e in load_all(r)]
    tokens = [(e.post, t) for e in examples if e.post.parse for t in e.post.parse.tokens]
    assert len({id(p) for p, _ in tokens}) == len(examples)
    assert all(p.text.startswith(t.text, t.start) for p, t in tokens)
    assert sum("spans" in e.post.meta for e in examples) == 184
    assert all(a.start is not None for e in examples for a in e.post.aspects)


@requires_data
def test_missing_split_raises_with_its_name() -> None:
    with pytest.raises(UserError, match=r"twitter2017/tombert/test\.tsv is not in"):
        list(open_examples("twitter2017:test").rows())
    with pytest.raises(UserError, match="twitter2015 has no split 'val'"):
        open_examples("twitter2015:val")


@pytest.mark.parametrize("name", datasets.names())
def test_dataset_names_its_splits_and_describes_itself(name: str, tmp_path: Path) -> None:
    corpus = datasets[name]
    assert corpus.splits
    assert corpus.about.endswith(".")
    if not corpus.is_packaged:
        with pytest.raises(UserError, match="is not in"):
            list(corpus.read(tmp_path, corpus.splits[0]))


def write_json(path: Path, *rows: object) -> Path:
    path.parent.mkdir(parents=True)
    path.write_text("\n".join(json.dumps(r) for r in rows) + "\n", encoding="utf-8")
    return path


def test_mvsa_rejects_bad_rows(tmp_path: Path) -> None:
    item = {"id": "1", "image": "images/1.jpg", "text": "tea", "label": None}
    item |= {"text_label": "positive", "image_label": "negative"}
    write_json(tmp_path / "mvsa_single/items.jsonl", item, {"id": "2"})
    accepted, rejected = datasets["mvsa_single"].read(tmp_path, split_of("1"))
    assert isinstance(accepted, Example)
    assert [o.annotator for o in accepted.opinions] == ["gold_text", "gold_image"]
    assert isinstance(rejected, Rejected)


def test_sarcasm_datasets_have_gold_text_but_no_polarity(tmp_path: Path) -> None:
    folder = tmp_path / "more_sarcasm_explanations"
    folder.mkdir()
    (folder / "val_df.tsv").write_bytes(b"7\t'nice tea '\tit is cold\n8\ttea\n9\t\xff\tx\n")
    accepted, *rejected = datasets["more_sarcasm"].read(tmp_path, "dev")
    assert isinstance(accepted, Example)
    assert (accepted.post.text, accepted.post.meta) == ("nice tea", {"quoted": True})
    assert accepted.opinions[0].explanation == "it is cold"
    assert [r.line for r in rejected if isinstance(r, Rejected)] == [2, 3]
    line = {"utterance": "Tea!", "speaker": "A", "context": ["Hm"], "context_speakers": ["B"]}
    line |= {"show": "S", "sarcasm": True}
    path = write_json(tmp_path / "mustard/sarcasm_data.json", {"1_1": line})
    (row,) = datasets["mustard"].read(tmp_path, "all")
    assert isinstance(row, Example)
    assert row.opinions[0].raw == "sarcastic"
    path.write_text('{"1_1": {}}')
    with pytest.raises(UserError, match="utterance: Field required"):
        list(datasets["mustard"].read(tmp_path, "all"))
