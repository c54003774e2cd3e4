"""25 of 25 planted duplicates are found, and nothing else."""

import random
from collections import Counter
from pathlib import Path

import pytest

from gen_msa.data import ExampleSource, open_examples
from gen_msa.errors import UserError
from gen_msa.evaluation.leakage import LeakageReport, LeakageSettings, find_leakage
from gen_msa.types import Example, Media, Opinion, Polarity, Post, Rejected
from tests.evaluation.test_near_duplicate_images import scene

WORDS = [f"{a}{b}" for a in ("ba", "ko", "ri", "nu", "te", "lo") for b in ("la", "mi", "so", "ve")]


def random_text(seed: int, words: int = 14) -> str:
    rng = random.Random(seed)
    return " ".join(f"{rng.choice(WORDS)}{rng.randrange(99)}" for _ in range(words))


def make_example(name: str, text: str, image: str | None = None) -> Example:
    media = (Media(kind="image", path=image),) if image else ()
    gold = Opinion(annotator="gold", polarity=Polarity.NEUTRAL)
    return Example(post=Post(id=name, text=text, media=media), opinions=(gold,))


def make_source(name: str, root: Path, rows: list[Example | Rejected]) -> ExampleSource:
    return ExampleSource(name, root, lambda: iter(rows))


def test_find_leakage_finds_all_planted_duplicates(tmp_path: Path) -> None:
    train = [make_example(f"t{i}", random_text(i), f"t{i}.png") for i in range(60)]
    for i in range(60):
        scene(i).save(tmp_path / f"t{i}.png")
    dev = [make_example(f"d{i}", random_text(1000 + i)) for i in range(40)]
    for i in range(5):
        dev.append(make_example(f"exact{i}", random_text(i)))
        dev.append(
            make_example(f"cased{i}", f"  {random_text(5 + i).upper()}\t https://t.co/{i} ".strip())
        )
        train[5 + i] = make_example(
            f"t{5 + i}", f"{random_text(5 + i)} http://t.co/x", f"t{5 + i}.png"
        )
        (tmp_path / f"renamed{i}.png").write_bytes((tmp_path / f"t{10 + i}.png").read_bytes())
        dev.append(make_example(f"renamed{i}", random_text(2000 + i), f"renamed{i}.png"))
        scene(15 + i).resize((90, 90)).save(tmp_path / f"again{i}.jpg", quality=45)
        dev.append(make_example(f"again{i}", random_text(3000 + i), f"again{i}.jpg"))
        near_words = random_text(20 + i).split()
        near_words[6] = "another"
        dev.append(make_example(f"near{i}", " ".join(near_words)))
    report = find_leakage(
        [make_source("train", tmp_path, train), make_source("dev", tmp_path, dev)]
    )
    assert report.posts == 25
    assert report.counts == {
        "text": 10,
        "near text": 5,
        "image": 5,
        "near image": 5,
        "image name": 0,
    }
    expected = Counter(
        f"{k}{i}" for k in ("exact", "cased", "renamed", "again", "near") for i in range(5)
    )
    assert Counter(t.later_post for t in report.duplicates) == expected
    earlier_posts = {t.later_post: t.earlier_post for t in report.duplicates}
    assert (
        earlier_posts["exact3"],
        earlier_posts["renamed2"],
        earlier_posts["again4"],
        earlier_posts["near0"],
    ) == (
        "t3",
        "t12",
        "t19",
        "t20",
    )
    assert LeakageReport.model_validate_json(report.model_dump_json()) == report


def test_find_leakage_is_empty_for_disjoint_splits(tmp_path: Path) -> None:
    split_a = make_source("a", tmp_path, [make_example(f"{i}", random_text(i)) for i in range(200)])
    split_b = make_source(
        "b", tmp_path, [make_example(f"{i}", random_text(500 + i)) for i in range(200)]
    )
    report = find_leakage([split_a, split_b])
    assert (report.posts, report.duplicates) == (0, ())


def test_images_without_bytes_match_by_name(tmp_path: Path) -> None:
    split_a = make_source("a", tmp_path, [make_example("1", random_text(1), "17_06_1.jpg")])
    split_b = make_source(
        "b",
        tmp_path,
        [
            make_example("2", random_text(2), "17_06_1.jpg"),
            make_example("3", random_text(3), "x.jpg"),
        ],
    )
    report = find_leakage([split_a, split_b])
    assert [(t.kind, t.later_post) for t in report.duplicates] == [("image name", "2")]
    assert report.splits[1].images_without_bytes == 2


def test_post_in_several_splits_counts_once_with_all_pairs(tmp_path: Path) -> None:
    splits = [
        make_source(name, tmp_path, [make_example(name, random_text(1))])
        for name in ("train", "dev", "test")
    ]
    report = find_leakage(splits)
    assert [(t.earlier_split, t.later_split) for t in report.duplicates] == [
        ("train", "dev"),
        ("train", "test"),
        ("dev", "test"),
    ]
    assert report.posts == 2


def test_repeats_within_a_split_are_only_counted(tmp_path: Path) -> None:
    train = make_source(
        "train", tmp_path, [make_example("1", random_text(1)), make_example("2", random_text(1))]
    )
    dev = make_source("dev", tmp_path, [make_example("3", random_text(1))])
    [duplicate] = find_leakage([train, dev]).duplicates
    assert (duplicate.earlier_post, duplicate.n_more) == ("1", 1)
    assert find_leakage([train, make_source("x", tmp_path, [])]).posts == 0


def test_mentions_and_links_alone_do_not_match(tmp_path: Path) -> None:
    split_a = make_source("a", tmp_path, [make_example("1", "@ann https://t.co/1")])
    split_b = make_source(
        "b", tmp_path, [make_example("2", "@bob https://t.co/2"), make_example("3", "")]
    )
    report = find_leakage([split_a, split_b])
    assert report.posts == 0
    assert report.splits[1].without_words == 2


def test_near_duplicate_checks_can_be_disabled(tmp_path: Path) -> None:
    split_a = make_source("a", tmp_path, [make_example("1", random_text(1))])
    split_b = make_source("b", tmp_path, [make_example("2", random_text(1) + " more")])
    assert find_leakage([split_a, split_b]).posts == 1
    exact = LeakageSettings(near_text=None, near_image=None)
    assert find_leakage([split_a, split_b], exact).posts == 0


def test_find_leakage_counts_rejected_rows(tmp_path: Path) -> None:
    rejected_row = Rejected(file="x", line=3, reason="broken")
    report = find_leakage(
        [make_source("a", tmp_path, [rejected_row]), make_source("b", tmp_path, [])]
    )
    assert report.splits[0].rejected == 1


def test_find_leakage_needs_two_different_splits() -> None:
    tiny = open_examples("tiny")
    for sources in ([tiny], [tiny, tiny]):
        with pytest.raises(UserError, match="different splits"):
            find_leakage(sources)
