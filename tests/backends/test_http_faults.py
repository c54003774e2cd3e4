"""Fault 19: a server that is busy, slow, broken or gone loses no request and scores no error."""

import random

import pytest

from gen_msa.backends import BackendOptions
from gen_msa.backends._http_call import RetryPolicy, TransientError, _parse_retry_after, _wait
from gen_msa.backends.http import HttpBackend
from tests.fixtures.fake_openai import FAULTS, FINAL, FakeOpenAI
from tests.fixtures.http_client import FakeClock, ask, client


def test_1000_requests_succeed_with_a_fifth_of_calls_failing():
    def choose_fault(text, attempt):
        rng = random.Random(f"{text}/{attempt}")
        # A failure after the last try would be an error, rightly; the test wants none of them.
        return rng.choice(FAULTS) if attempt < 4 and rng.random() < 0.2 else ""

    clock = FakeClock()
    with FakeOpenAI(choose_fault) as server:
        backend = client(server, clock, timeout=2.0, batch_size=32, retries=12)
        completions = backend.complete([ask(f"post {i}") for i in range(1000)])
        assert not [c.error for c in completions if c.error]
        assert [c.text for c in completions] == [f"said: post {i}" for i in range(1000)]
        assert {c.finish_reason for c in completions} == {"stop"}
        assert set(server.faults) == set(FAULTS)
        assert sum(server.faults.values()) > 200
        # On a busy machine a good answer may be late as well, or a call not reach the server.
        assert sum(server.attempts.values()) >= 1000 + sum(server.faults.values())
        assert len(clock.waits) >= sum(server.attempts.values()) - 1000
        assert max(clock.waits) <= 60.5


@pytest.mark.parametrize("fault", FAULTS)
def test_lasting_fault_is_an_error_completion(fault):
    with FakeOpenAI(lambda text, attempt: fault if "3" in text else "") as server:
        completions = client(server, retries=2, timeout=1.0).complete(
            [ask(f"post {i}") for i in range(6)]
        )
        assert [c.finish_reason for c in completions] == ["stop"] * 3 + ["error"] + ["stop"] * 2
        assert completions[3].text == ""
        assert "tried 3 times" in completions[3].error
        assert completions[3].option_logprobs is None
        assert server.attempts["post 3"] == 3


@pytest.mark.parametrize("fault", FINAL)
def test_permanent_error_is_not_retried(fault):
    with FakeOpenAI(lambda text, attempt: fault) as server:
        (completion,) = client(server).complete([ask("post")])
        assert (completion.finish_reason, completion.text) == ("error", "")
        assert server.attempts["post"] == 1


def test_at_most_batch_size_requests_are_in_flight():
    with FakeOpenAI(delay_s=0.02) as server:
        client(server, batch_size=3).complete([ask(f"post {i}") for i in range(12)])
        assert server.max_running == 3


def test_unreachable_server_gives_an_error_for_each_request():
    backend = HttpBackend(
        "http://127.0.0.1:9/v1#m", BackendOptions(retries=1), sleep=FakeClock().sleep
    )
    completions = backend.complete([ask("a"), ask("b")])
    assert [c.finish_reason for c in completions] == ["error", "error"]
    assert "connection refused by 127.0.0.1:9 (tried 2 times)" in completions[0].error


def test_retry_waits_grow_are_capped_and_follow_retry_after():
    def wait(attempt, error):
        outcome = type("O", (), {"exception": lambda self: error})()
        state = type("S", (), {"outcome": outcome, "attempt_number": attempt})()
        return _wait(state, RetryPolicy().max_wait)

    assert 0.5 <= wait(1, TransientError("x")) <= 1
    assert 4 <= wait(4, TransientError("x")) <= 8
    assert wait(99, TransientError("x")) <= 30
    assert 7 <= wait(1, TransientError("x", 7.0)) <= 7.5
    assert wait(1, TransientError("x", 1e9)) <= 60.5
    assert _parse_retry_after("12") == 12
    assert _parse_retry_after("-3") == 0
    assert _parse_retry_after("nan") is None
    assert _parse_retry_after("soon") is None
    assert _parse_retry_after("Fri, 01 Jan 99999999999999999999 00:00:00 GMT") is None
    assert _parse_retry_after("Fri, 01 Jan 2100 00:00:00 +99999999999999") is None
    assert _parse_retry_after("Thu, 01 Jan 1970 00:00:00 GMT") == 0
