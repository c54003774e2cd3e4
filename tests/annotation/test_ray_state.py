"""The state of a job on a cluster: deaths are counted where they happen, answers kept at once."""

import pytest

from gen_msa.annotation.ray_state import MAX_DEATHS, JobState
from gen_msa.errors import BackendUnavailable, UserError
from gen_msa.predictors import Prediction
from gen_msa.types import Aspect, Opinion, Status

GOOD = Prediction((Opinion(annotator="x", aspect=Aspect(term="screen"), status=Status.OK),))
FAILED = Prediction((Opinion(annotator="x", aspect=Aspect(term="screen"), status=Status.ERROR),))


@pytest.fixture
def state(tmp_path):
    job = JobState(chunk=4)
    job.open_cache(tmp_path / "o.cache", [])
    job.started("w")
    job.loaded("w", {"model": "m"})
    yield job
    job.close()


def test_worker_death_counts_only_for_units_in_progress(state):
    state.started("other")
    for unit in ("a", "b"):
        state.begin("w", unit)
    state.begin("other", "c")
    state.keep("w", "a", "a", {"k": GOOD})
    state.started("w")
    assert [state.lookup(unit, [])[0] for unit in "abc"] == [0, 1, 0]
    assert state.current().lost == 1


def test_answers_are_cached_at_once_unless_retryable(state):
    state.begin("w", "a")
    answers = {"good": GOOD, "failed": FAILED, "refused": Prediction(rejection="no image")}
    assert state.keep("w", "a", "a", answers) == 3
    deaths, n_new, cached = state.lookup("a", [*answers])
    assert (deaths, n_new, [*cached]) == (0, 3, ["good"])


def test_workers_that_die_while_loading_stop_the_job(state):
    for _ in range(MAX_DEATHS):
        state.started("w")
    with pytest.raises(RuntimeError, match="stopped"):
        state.started("w")
    assert "while they load" in state.current().error.problem
    with pytest.raises(RuntimeError, match="stopped"):
        state.lookup("a", [])


def test_unavailable_server_stops_the_job(state):
    state.begin("w", "a")
    state.keep("w", "a", "a", {f"k{i}": GOOD for i in range(4)})
    state.begin("w", "b")
    with pytest.raises(BackendUnavailable):
        state.keep("w", "b", "b", {f"f{i}": FAILED for i in range(300)})
    assert isinstance(state.current().error, BackendUnavailable)
    assert "k0" in state._cache.get(["k0"])


def test_first_error_wins(state):
    state.fail(UserError("first"))
    state.fail(UserError("second"))
    assert state.current().error.problem == "first"
