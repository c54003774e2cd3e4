"""A fine-tuned model is asked as it was trained; what contradicts that is refused by name."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from gen_msa import prompting
from gen_msa.annotation import JobSettings
from gen_msa.errors import UserError
from gen_msa.predictors import PredictorSettings
from gen_msa.predictors.prompted.predictor import apply_training_settings

PROMPT = """---
about: our own
task: aspect
labels: {negative: negative, neutral: neutral, positive: positive}
keys: {label: Sentiment, explanation: Reason}
max_new_tokens: 50
---
{{ post.text }} {{ aspect }}
"""


def training_metadata(*prompts, **inference):
    digests = {name: prompting.load_prompt(name).digest for name in prompts or ("predict/full",)}
    settings = {"prompt": "", "cues": {"window": {}}, "image": {"max_pixels": 50_176}}
    return SimpleNamespace(prompts=digests, inference={**settings, **inference})


def test_settings_are_unchanged_without_training_metadata():
    settings = PredictorSettings(prompt="predict/shots")
    assert apply_training_settings(settings, None) is settings


def test_unset_settings_come_from_training():
    applied = apply_training_settings(
        PredictorSettings(model="transformers:a@b"), training_metadata(max_new_tokens=70)
    )
    assert applied.prompt == "predict/full"
    assert applied.cues == {"window": {}}
    assert applied.image.max_pixels == 50_176
    assert applied.max_new_tokens == 70
    assert applied.model == "transformers:a@b"


def test_each_task_uses_its_training_prompt():
    applied = apply_training_settings(
        PredictorSettings(), training_metadata("predict/aspects", "predict/shots")
    )
    assert applied.prompt == "predict/shots"
    assert applied.aspects_prompt == "predict/aspects"
    assert applied.overall_prompt == PredictorSettings().overall_prompt


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"prompt": "predict/shots"}, "prompt=predict/shots"),
        ({"cues": {}}, "cues"),
        ({"cues": {"syntax": {}}}, "cues"),
        ({"image": {"max_pixels": 99_999}}, "max_pixels=99999"),
    ],
)
def test_contradicting_settings_are_rejected_unless_overridden(overrides, message):
    with pytest.raises(UserError, match=message) as error:
        apply_training_settings(PredictorSettings(**overrides), training_metadata())
    assert "adapter_settings=override" in str(error.value)
    applied = apply_training_settings(
        PredictorSettings(adapter_settings="override", **overrides), training_metadata()
    )
    assert (
        applied.model_dump().items()
        >= PredictorSettings(**overrides).model_dump(include={*overrides}).items()
    )


def test_settings_equal_to_training_may_be_given():
    explicit = {"prompt": "predict/full", "cues": {"window": {}}, "image": {"max_pixels": 50_176}}
    assert (
        apply_training_settings(PredictorSettings(**explicit), training_metadata()).prompt
        == "predict/full"
    )


def test_limits_that_do_not_change_the_input_stay_the_users():
    applied = apply_training_settings(
        PredictorSettings(image={"max_bytes": 1000}), training_metadata()
    )
    assert applied.image.max_bytes == 1000
    assert applied.image.max_pixels == 50_176


def test_adapter_cannot_allow_hosts():
    metadata = training_metadata(image={"max_pixels": 1000, "allowed_hosts": ["example.org"]})
    assert apply_training_settings(PredictorSettings(), metadata).image.allowed_hosts == ()


def test_changed_prompt_is_rejected():
    metadata = training_metadata()
    metadata.prompts["predict/full"] = "0" * 64
    with pytest.raises(UserError, match=r"differs from the training: predict/full@00000000"):
        apply_training_settings(PredictorSettings(), metadata)


def test_user_prompt_is_recognized_by_its_digest(tmp_path):
    (tmp_path / "own.jinja").write_text(PROMPT)
    digest = prompting.load_prompt(str(tmp_path / "own.jinja")).digest
    metadata = SimpleNamespace(prompts={"elsewhere/own.jinja": digest}, inference={})
    with pytest.raises(UserError, match="of the training is not here"):
        apply_training_settings(PredictorSettings(), metadata)
    prompt_path = str(tmp_path / "own.jinja")
    assert (
        apply_training_settings(PredictorSettings(prompt=prompt_path), metadata).prompt
        == prompt_path
    )
    (tmp_path / "own.jinja").write_text(PROMPT + "!")
    with pytest.raises(UserError, match="was trained with"):
        apply_training_settings(PredictorSettings(prompt=prompt_path), metadata)


def test_job_passes_on_which_settings_are_explicit():
    job = JobSettings(model="echo", workers=2, image={"max_bytes": 9})
    assert job.predictor_settings().model_fields_set == {"model", "image"}
    assert job.predictor_settings().image.model_fields_set == {"max_bytes"}


def test_trained_adapter_gets_its_own_prompt(tmp_path):
    pytest.importorskip("torch", reason="torch is not installed")
    pytest.importorskip("transformers", reason="transformers is not installed")
    pytest.importorskip("peft", reason="peft is not installed")
    from gen_msa.predictors import make
    from tests.backends.tiny_adapters import saved, train
    from tests.fixtures.posts import post

    base = saved("llama", tmp_path / "llama")
    metadata = training_metadata("predict/label")
    folder = train(base, tmp_path / "a", prompts=metadata.prompts, inference=metadata.inference)
    settings = {"model": f"transformers:{base}@{folder}", "backend": {"device": "cpu"}}
    (preview, *_) = make(PredictorSettings(**settings), Path()).preview([post(3)])
    assert preview.provenance["prompt"].startswith("predict/label@")
    with pytest.raises(UserError, match="was trained with"):
        make(PredictorSettings(prompt="predict/full", **settings), Path())
