"""An adapter that another engine holds is believed only if it answers its probe as in training."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch", reason="torch is not installed")

from gen_msa.backends.local.probe import TOLERANCE, Probe
from gen_msa.backends.local.served import Heard, check, question, told
from gen_msa.errors import UserError
from tests.backends import trained

FOLDER = Path("runs/mabsa")
IDS = (5, 6, 7)


def probe(adapted=(-0.5, -1.0, -3.0), base=(-2.0, -1.0, -1.5), **more):
    facts = {"text": "Why?", "pictured": False, "precision": "float32", "ids": IDS}
    return Probe(**{**facts, "tokens": (1, 2, 3), "adapted": adapted, "base": base, **more})


def heard(values, ids=IDS):
    return Heard(ids, dict(zip((1, 2, 3), values, strict=False)))


def checked(recorded=None, adapted=None, base=None, now="float32"):
    recorded = recorded or probe()
    check(
        FOLDER,
        recorded,
        adapted=adapted or heard(recorded.adapted),
        base=base or heard(recorded.base),
        now=now,
    )


@given(st.floats(-0.009, 0.009), st.floats(-0.009, 0.009))
def test_rounding_of_the_precision_is_forgiven(one, two):
    said = heard((-0.5 + one, -1.0 + two, -3.0))
    checked(adapted=said)


@given(st.sampled_from([0, 1, 2]), st.floats(0.02, 5), st.booleans(), st.booleans())
def test_a_score_that_is_off_is_refused_whichever_and_whosever_it_is(at, by, up, of_base):
    recorded = probe()
    values = list(recorded.base if of_base else recorded.adapted)
    values[at] += by if up else -by
    with pytest.raises(UserError, match="otherwise than in training"):
        checked(**{"base" if of_base else "adapted": heard(values)})


def test_a_coarser_precision_is_forgiven_more_and_said():
    said = heard((-0.9, -1.0, -3.0))
    checked(adapted=said, now="bfloat16")
    with pytest.raises(UserError, match="float32 then, float16 now"):
        checked(adapted=heard((-0.9, -1.0, -3.6)), now="float16")
    assert TOLERANCE["bfloat16"] == 0.5


def test_a_token_the_engine_did_not_list_may_be_less_likely_but_not_more():
    few = Heard(IDS, {1: -0.5, 2: -1.0, 9: -2.9})
    checked(probe(adapted=(-0.5, -1.0, -3.0)), adapted=few)
    with pytest.raises(UserError, match="the adapted model"):
        checked(probe(adapted=(-0.5, -1.0, -2.0)), adapted=few)


def test_other_tokens_and_no_effect_are_refused():
    with pytest.raises(UserError, match="2 other tokens of the probe than the 3"):
        checked(adapted=heard((-0.5, -1.0, -3.0), ids=(5, 6)))
    checked(adapted=heard((-0.5, -1.0, -3.0), ids=()))
    same = heard((-0.5, -1.0, -3.0))
    with pytest.raises(UserError, match="changes nothing"):
        check(FOLDER, None, adapted=same, base=same, now="float32")
    check(FOLDER, None, adapted=same, base=heard((-0.5, -1.0, -3.1)), now="float32")


def test_a_model_without_adapter_is_compared_with_its_own_probe_alone():
    recorded = probe(base=())
    check(FOLDER, recorded, adapted=heard(recorded.adapted), base=None, now="float32")
    with pytest.raises(UserError, match="the adapted model"):
        check(FOLDER, recorded, adapted=heard((-1.5, -1.0, -3.0)), base=None, now="float32")


def test_the_question_is_the_recorded_one_with_its_picture():
    assert question(None).picture is None
    asked = question(probe(pictured=True))
    assert (asked.text, asked.picture.size) == ("Why?", (224, 224))


def test_what_a_folder_tells_is_checked_against_the_base(tmp_path):
    base = trained.saved("llama", tmp_path / "base")
    worn = trained.train(base, tmp_path / "worn")
    facts, notes = told(base, worn)
    assert (facts.probe.ids[:1] != (), notes) == (True, {})
    bare = trained.train(base, tmp_path / "bare", facts=False)
    facts, notes = told(base, bare)
    assert facts is None
    assert "not checked" in notes["adapter"]
    other = trained.saved("llama", tmp_path / "other", seed=5)
    with pytest.raises(UserError, match="another base"):
        told(other, worn)
    assert told(base, None) == (None, {})
