"""Laps: posts are read afresh by a process of one thread, in turns, and one failure stops no other.

Time is never held against a clock: the readers burn so much CPU time as they are told to.
"""

import itertools
from collections import Counter
from functools import partial

import pytest

from gen_msa.evaluating.costing import Contender, race, racing
from gen_msa.ledger import key
from tests.evaluating.costing.doubles import Counting, Failing, refused
from tests.evaluating.phones import example

POSTS = [example(i, "neutral").post for i in range(4)]


def lines(log):
    return [line.split() for line in log.read_text("utf-8").splitlines()]


def test_every_lap_reads_every_post_afresh_after_one_that_warms_up(tmp_path):
    log = tmp_path / "log"
    made = [Contender(n, partial(Counting, log), POSTS, chunk=3) for n in "ab"]
    ran = race(made, 5)
    read = lines(log)
    per_process = Counter((pid, post) for pid, post, *_ in read)
    assert len({pid for pid, *_ in read}) == 2
    assert set(per_process.values()) == {6}
    assert [len(r.laps) for r in ran.values()] == [5, 5]
    assert {(lap.posts, lap.opinions) for r in ran.values() for lap in r.laps} == {(4, 4)}
    assert {size for _, _, size, _ in read} == {"3", "1"}
    assert {threads for *_, threads in read} == {"1"}


@pytest.mark.parametrize(("together", "changes"), [(True, 11), (False, 1)])
def test_readers_take_turns_lap_by_lap_unless_memory_is_short(tmp_path, together, changes):
    log = tmp_path / "log"
    race([Contender(n, partial(Counting, log), POSTS) for n in "ab"], 5, together=together)
    who = [pid for pid, *_ in lines(log)]
    assert sum(a != b for a, b in itertools.pairwise(who)) == changes


def test_a_reader_that_works_ten_times_as_long_costs_ten_times_as_much(tmp_path):
    log = tmp_path / "log"
    times = {"fast": 0.005, "slow": 0.05}
    ran = race([Contender(n, partial(Counting, log, s), POSTS) for n, s in times.items()], 5)
    fast, slow = (min(lap.cpu for lap in ran[n].laps) for n in times)
    assert fast >= 4 * times["fast"]
    assert slow >= 4 * times["slow"]
    assert 5 < slow / fast < 15
    assert all(lap.peak_mb > 10 for r in ran.values() for lap in r.laps)
    assert ran["slow"].reader == key({"seconds": 0.05}) != ran["fast"].reader


def test_one_that_fails_is_named_with_its_error_and_the_others_go_on(tmp_path):
    log = tmp_path / "log"
    made = [
        Contender("refused", partial(refused, log), POSTS),
        Contender("warming", partial(Failing, log, 0), POSTS),
        Contender("later", partial(Failing, log, 3), POSTS),
        Contender("gone", partial(Failing, log, 2, dies=True), POSTS),
        Contender("well", partial(Counting, log), POSTS),
    ]
    ran = race(made, 5)
    assert "no weights beside log" in ran["refused"].error
    assert "mend: cook them" in ran["refused"].error
    assert ran["warming"].error == ran["later"].error == "ValueError: the soup is cold"
    assert ran["gone"].error == "its process ended with exit code 7"
    assert not ran["well"].error
    assert len(ran["well"].laps) == 5


@pytest.mark.models
def test_no_lap_takes_a_pictures_features_from_an_earlier_one(tmp_path, monkeypatch):
    pytest.importorskip("torch", reason="torch is not installed")
    from gen_msa.students.common.inputs import inputs, packaged_eyes
    from gen_msa.towers.packaged import VISION
    from tests.builtin.tiny_parts import picture

    if VISION.path() is None:
        pytest.skip("the weights of EfficientNet-Lite0 are not installed")

    monkeypatch.setenv("GEN_MSA_CACHE", str(tmp_path / "cache"))
    picture().save(tmp_path / "a.png")
    post = example(0, "neutral", picture="a.png").post
    inputs([post], tmp_path, ["picture"])
    eyes = packaged_eyes(tmp_path / "cache")
    for lap in range(3):
        racing._forget(tmp_path / str(lap))
        inputs([post], tmp_path, ["picture"])
    assert eyes.made == 4
    inputs([post], tmp_path, ["picture"])
    assert eyes.made == 4
