"""Fault 19: a server that is busy, slow, broken or gone loses no request and scores no error."""

import random

import pytest

from gen_msa.backends import BackendOptions
from gen_msa.backends._calling import Passing, Patience, _asked_wait, _wait
from gen_msa.backends.http import Http
from tests.fixtures.fake_openai import FAULTS, FINAL, FakeOpenAI
from tests.fixtures.http_client import Clock, ask, client


def test_a_thousand_requests_with_a_fifth_of_all_calls_failing():
    def plan(words, attempt):
        seed = random.Random(f"{words}/{attempt}")
        # A failure after the last try would be an error, rightly; the test wants none of them.
        return seed.choice(FAULTS) if attempt < 4 and seed.random() < 0.2 else ""

    clock = Clock()
    with FakeOpenAI(plan) as server:
        backend = client(server, clock, timeout=2.0, batch_size=32, retries=12)
        done = backend.complete([ask(f"post {i}") for i in range(1000)])
        assert not [c.error for c in done if c.error]
        assert [c.text for c in done] == [f"said: post {i}" for i in range(1000)]
        assert {c.finish_reason for c in done} == {"stop"}
        assert set(server.faults) == set(FAULTS)
        assert sum(server.faults.values()) > 200
        # On a busy machine a good answer may be late as well, or a call not reach the server.
        assert sum(server.attempts.values()) >= 1000 + sum(server.faults.values())
        assert len(clock.waits) >= sum(server.attempts.values()) - 1000
        assert max(clock.waits) <= 60.5


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_that_does_not_pass_is_an_error_and_never_an_answer(fault):
    with FakeOpenAI(lambda words, attempt: fault if "3" in words else "") as server:
        done = client(server, retries=2, timeout=0.3).complete([ask(f"post {i}") for i in range(6)])
        assert [c.finish_reason for c in done] == ["stop"] * 3 + ["error"] + ["stop"] * 2
        assert done[3].text == ""
        assert "tried 3 times" in done[3].error
        assert done[3].option_logprobs is None
        assert server.attempts["post 3"] == 3


@pytest.mark.parametrize("fault", FINAL)
def test_a_fault_for_good_is_not_tried_again(fault):
    with FakeOpenAI(lambda words, attempt: fault) as server:
        (done,) = client(server).complete([ask("post")])
        assert (done.finish_reason, done.text) == ("error", "")
        assert server.attempts["post"] == 1


def test_at_most_batch_size_requests_are_in_flight():
    with FakeOpenAI(slow=0.02) as server:
        client(server, batch_size=3).complete([ask(f"post {i}") for i in range(12)])
        assert server.most_running == 3


def test_a_server_that_is_not_there_is_an_error_for_each_request():
    backend = Http("http://127.0.0.1:9/v1#m", BackendOptions(retries=1), sleep=Clock().sleep)
    done = backend.complete([ask("a"), ask("b")])
    assert [c.finish_reason for c in done] == ["error", "error"]
    assert "ConnectError" in done[0].error


def test_waits_grow_are_capped_and_follow_the_server():
    def wait(attempt, error):
        outcome = type("O", (), {"exception": lambda self: error})()
        state = type("S", (), {"outcome": outcome, "attempt_number": attempt})()
        return _wait(state, Patience().longest_wait)

    assert 0.5 <= wait(1, Passing("x")) <= 1
    assert 4 <= wait(4, Passing("x")) <= 8
    assert wait(99, Passing("x")) <= 30
    assert 7 <= wait(1, Passing("x", 7.0)) <= 7.5
    assert wait(1, Passing("x", 1e9)) <= 60.5
    assert _asked_wait("12") == 12
    assert _asked_wait("-3") == 0
    assert _asked_wait("nan") is None
    assert _asked_wait("soon") is None
    assert _asked_wait("Fri, 01 Jan 99999999999999999999 00:00:00 GMT") is None
    assert _asked_wait("Fri, 01 Jan 2100 00:00:00 +99999999999999") is None
    assert _asked_wait("Thu, 01 Jan 1970 00:00:00 GMT") == 0
