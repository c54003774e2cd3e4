"""Fault 24: 25 planted duplicates are found, 25 of 25, and nothing else."""

import random
from collections import Counter
from pathlib import Path

import pytest

from gen_msa.data import Source, open_source
from gen_msa.errors import UserError
from gen_msa.evaluating.leakage import Leakage, LeakageSettings, leakage
from gen_msa.types import Example, Media, Opinion, Polarity, Post, Rejected
from tests.evaluating.twins.test_pictures import scene

WORDS = [f"{a}{b}" for a in ("ba", "ko", "ri", "nu", "te", "lo") for b in ("la", "mi", "so", "ve")]


def said(seed: int, words: int = 14) -> str:
    rng = random.Random(seed)
    return " ".join(f"{rng.choice(WORDS)}{rng.randrange(99)}" for _ in range(words))


def post(name: str, text: str, picture: str | None = None) -> Example:
    media = (Media(kind="image", path=picture),) if picture else ()
    gold = Opinion(by="gold", polarity=Polarity.NEUTRAL)
    return Example(post=Post(id=name, text=text, media=media), opinions=(gold,))


def source(name: str, root: Path, rows: list[Example | Rejected]) -> Source:
    return Source(name, root, lambda: iter(rows))


def test_planted_duplicates_are_found_25_of_25(tmp_path: Path) -> None:
    train = [post(f"t{i}", said(i), f"t{i}.png") for i in range(60)]
    for i in range(60):
        scene(i).save(tmp_path / f"t{i}.png")
    dev = [post(f"d{i}", said(1000 + i)) for i in range(40)]
    for i in range(5):
        dev.append(post(f"exact{i}", said(i)))
        dev.append(post(f"cased{i}", f"  {said(5 + i).upper()}\t https://t.co/{i} ".strip()))
        train[5 + i] = post(f"t{5 + i}", f"{said(5 + i)} http://t.co/x", f"t{5 + i}.png")
        (tmp_path / f"renamed{i}.png").write_bytes((tmp_path / f"t{10 + i}.png").read_bytes())
        dev.append(post(f"renamed{i}", said(2000 + i), f"renamed{i}.png"))
        scene(15 + i).resize((90, 90)).save(tmp_path / f"again{i}.jpg", quality=45)
        dev.append(post(f"again{i}", said(3000 + i), f"again{i}.jpg"))
        near = said(20 + i).split()
        near[6] = "another"
        dev.append(post(f"near{i}", " ".join(near)))
    found = leakage([source("train", tmp_path, train), source("dev", tmp_path, dev)])
    assert found.posts == 25
    assert found.counts == {
        "text": 10,
        "near text": 5,
        "picture": 5,
        "near picture": 5,
        "picture name": 0,
    }
    expected = Counter(
        f"{k}{i}" for k in ("exact", "cased", "renamed", "again", "near") for i in range(5)
    )
    assert Counter(t.second_post for t in found.twins) == expected
    first = {t.second_post: t.first_post for t in found.twins}
    assert (first["exact3"], first["renamed2"], first["again4"], first["near0"]) == (
        "t3",
        "t12",
        "t19",
        "t20",
    )
    assert Leakage.model_validate_json(found.model_dump_json()) == found


def test_splits_without_anything_in_common_have_none(tmp_path: Path) -> None:
    one = source("a", tmp_path, [post(f"{i}", said(i)) for i in range(200)])
    two = source("b", tmp_path, [post(f"{i}", said(500 + i)) for i in range(200)])
    found = leakage([one, two])
    assert (found.posts, found.twins) == (0, ())


def test_pictures_without_bytes_are_known_by_name(tmp_path: Path) -> None:
    one = source("a", tmp_path, [post("1", said(1), "17_06_1.jpg")])
    two = source("b", tmp_path, [post("2", said(2), "17_06_1.jpg"), post("3", said(3), "x.jpg")])
    found = leakage([one, two])
    assert [(t.kind, t.second_post) for t in found.twins] == [("picture name", "2")]
    assert found.splits[1].nameless == 2


def test_a_post_found_in_two_splits_counts_once_and_all_pairs_are_listed(tmp_path: Path) -> None:
    splits = [source(name, tmp_path, [post(name, said(1))]) for name in ("train", "dev", "test")]
    found = leakage(splits)
    assert [(t.first, t.second) for t in found.twins] == [
        ("train", "dev"),
        ("train", "test"),
        ("dev", "test"),
    ]
    assert found.posts == 2


def test_repeats_within_a_split_are_no_leak_but_are_counted_beside_one(tmp_path: Path) -> None:
    train = source("train", tmp_path, [post("1", said(1)), post("2", said(1))])
    other = source("dev", tmp_path, [post("3", said(1))])
    [twin] = leakage([train, other]).twins
    assert (twin.first_post, twin.more) == ("1", 1)
    assert leakage([train, source("x", tmp_path, [])]).posts == 0


def test_mentions_and_links_alone_are_no_text_in_common(tmp_path: Path) -> None:
    one = source("a", tmp_path, [post("1", "@ann https://t.co/1")])
    two = source("b", tmp_path, [post("2", "@bob https://t.co/2"), post("3", "")])
    found = leakage([one, two])
    assert found.posts == 0
    assert found.splits[1].wordless == 2


def test_near_things_can_be_left_out(tmp_path: Path) -> None:
    one = source("a", tmp_path, [post("1", said(1))])
    two = source("b", tmp_path, [post("2", said(1) + " more")])
    assert leakage([one, two]).posts == 1
    exact = LeakageSettings(near_text=None, near_picture=None)
    assert leakage([one, two], exact).posts == 0


def test_rejected_rows_are_counted(tmp_path: Path) -> None:
    bad = Rejected(file="x", line=3, reason="broken")
    found = leakage([source("a", tmp_path, [bad]), source("b", tmp_path, [])])
    assert found.splits[0].rejected == 1


def test_fewer_than_two_splits_or_one_twice_is_refused() -> None:
    tiny = open_source("tiny")
    for sources in ([tiny], [tiny, tiny]):
        with pytest.raises(UserError, match="different splits"):
            leakage(sources)
