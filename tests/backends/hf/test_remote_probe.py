"""An adapter that another engine holds is believed only if it answers its probe as in training."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch", reason="torch is not installed")

from gen_msa.backends.hf.probe import TOLERANCE, AdapterProbe
from gen_msa.backends.hf.remote_probe import (
    ProbeResponse,
    check_remote_probe,
    load_verified_metadata,
    probe_question,
)
from gen_msa.errors import UserError
from tests.backends import tiny_adapters

FOLDER = Path("runs/mabsa")
IDS = (5, 6, 7)


def make_probe(adapted=(-0.5, -1.0, -3.0), base=(-2.0, -1.0, -1.5), **options):
    fields = {"text": "Why?", "with_image": False, "precision": "float32", "ids": IDS}
    return AdapterProbe(
        **{**fields, "tokens": (1, 2, 3), "adapted": adapted, "base": base, **options}
    )


def make_response(values, ids=IDS):
    return ProbeResponse(ids, dict(zip((1, 2, 3), values, strict=False)))


def check_response(recorded=None, adapted=None, base=None, current_precision="float32"):
    recorded = recorded or make_probe()
    check_remote_probe(
        FOLDER,
        recorded,
        adapted=adapted or make_response(recorded.adapted),
        base=base or make_response(recorded.base),
        precision=current_precision,
    )


@given(st.floats(-0.009, 0.009), st.floats(-0.009, 0.009))
def test_rounding_errors_are_tolerated(error_a, error_b):
    response = make_response((-0.5 + error_a, -1.0 + error_b, -3.0))
    check_response(adapted=response)


@given(st.sampled_from([0, 1, 2]), st.floats(0.02, 5), st.booleans(), st.booleans())
def test_wrong_score_is_refused_for_adapter_and_base(index, delta, increase, of_base):
    recorded = make_probe()
    values = list(recorded.base if of_base else recorded.adapted)
    values[index] += delta if increase else -delta
    with pytest.raises(UserError, match="differently than in training"):
        check_response(**{"base" if of_base else "adapted": make_response(values)})


def test_coarser_precision_has_larger_tolerance():
    response = make_response((-0.9, -1.0, -3.0))
    check_response(adapted=response, current_precision="bfloat16")
    with pytest.raises(UserError, match="float32 then, float16 now"):
        check_response(adapted=make_response((-0.9, -1.0, -3.6)), current_precision="float16")
    assert TOLERANCE["bfloat16"] == 0.5


def test_unlisted_token_may_be_less_likely_but_not_more():
    partial = ProbeResponse(IDS, {1: -0.5, 2: -1.0, 9: -2.9})
    check_response(make_probe(adapted=(-0.5, -1.0, -3.0)), adapted=partial)
    with pytest.raises(UserError, match="the adapted model"):
        check_response(make_probe(adapted=(-0.5, -1.0, -2.0)), adapted=partial)


def test_other_tokens_and_missing_effect_are_refused():
    with pytest.raises(UserError, match=r"other tokens for the probe \(2\) than training \(3\)"):
        check_response(adapted=make_response((-0.5, -1.0, -3.0), ids=(5, 6)))
    check_response(adapted=make_response((-0.5, -1.0, -3.0), ids=()))
    identical = make_response((-0.5, -1.0, -3.0))
    with pytest.raises(UserError, match="has no effect"):
        check_remote_probe(FOLDER, None, adapted=identical, base=identical, precision="float32")
    check_remote_probe(
        FOLDER, None, adapted=identical, base=make_response((-0.5, -1.0, -3.1)), precision="float32"
    )


def test_model_without_adapter_is_compared_with_its_own_probe():
    recorded = make_probe(base=())
    check_remote_probe(
        FOLDER, recorded, adapted=make_response(recorded.adapted), base=None, precision="float32"
    )
    with pytest.raises(UserError, match="the adapted model"):
        check_remote_probe(
            FOLDER,
            recorded,
            adapted=make_response((-1.5, -1.0, -3.0)),
            base=None,
            precision="float32",
        )


def test_probe_question_holds_recorded_text_and_image():
    assert probe_question(None).image is None
    probe_request = probe_question(make_probe(with_image=True))
    assert (probe_request.text, probe_request.image.size) == ("Why?", (224, 224))


def test_metadata_is_verified_against_base(tmp_path):
    base = tiny_adapters.saved("llama", tmp_path / "base")
    adapter = tiny_adapters.train(base, tmp_path / "worn")
    facts, notes = load_verified_metadata(base, adapter)
    assert (facts.probe.ids[:1] != (), notes) == (True, {})
    without_metadata = tiny_adapters.train(base, tmp_path / "bare", with_metadata=False)
    facts, notes = load_verified_metadata(base, without_metadata)
    assert facts is None
    assert "not checked" in notes["adapter"]
    other_base = tiny_adapters.saved("llama", tmp_path / "other", seed=5)
    with pytest.raises(UserError, match="another base"):
        load_verified_metadata(other_base, adapter)
    assert load_verified_metadata(base, None) == (None, {})
