"""A stored merged model answers as the merged one, and is stored again when anything differs."""

import multiprocessing
import os
import shutil
import warnings

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

import numpy as np
import torch
import transformers as hf
from PIL import Image

from gen_msa import builtin, manifest
from gen_msa.backends import BackendOptions
from gen_msa.backends.hf import weights
from gen_msa.builtin import inference_model, merged_model
from gen_msa.builtin.inference_model import InferenceLlava
from gen_msa.builtin.inference_processor import InferenceProcessor
from gen_msa.errors import CacheWarning, UserError
from gen_msa.predictors import PredictorSettings, make
from gen_msa.types import Aspect, Post
from tests.builtin.builders import random_image, tiny_builtin

POST = Post(id="1", text="Great screen, awful battery", aspects=[Aspect(term="screen")])


def _light_copy(model):
    """Return the model in plain torch with the same tensors."""
    with torch.device("meta"):
        light = InferenceLlava(model.config.to_dict())
    state = {n: t for n, t in model.state_dict().items() if n not in inference_model.TIED_WEIGHTS}
    light.load_state_dict(state, assign=True)
    return light.eval()


@pytest.fixture(scope="module")
def models():
    model, processor = tiny_builtin()
    return model, _light_copy(model), processor


MASKS = {
    "none": None,
    "full": torch.ones(2, 9, dtype=torch.long),
    "padded": torch.tensor([[1] * 9, [0] * 3 + [1] * 6]),
}


@pytest.mark.parametrize("mask", MASKS)
def test_logits_are_those_of_transformers_to_the_last_bit(models, mask):
    model, light, _ = models
    ids = torch.arange(18).reshape(2, 9) + 3
    with torch.inference_mode():
        for count in (0, 1):
            inputs = {"input_ids": ids, "attention_mask": MASKS[mask], "logits_to_keep": count}
            assert torch.equal(light(**inputs).logits, model(**inputs).logits)


@pytest.mark.parametrize("mask", ["full", "padded"])
@pytest.mark.parametrize("n_new", [1, 4])
def test_logits_after_a_cached_prefix_are_those_of_transformers(models, mask, n_new):
    model, light, _ = models
    ids, new_ids = torch.arange(18).reshape(2, 9) + 3, torch.arange(2 * n_new).reshape(2, -1) + 40
    full_mask = torch.cat([MASKS[mask], torch.ones_like(new_ids)], dim=1)

    def continued(any_model):
        with torch.inference_mode():
            prefix = any_model(input_ids=ids, attention_mask=MASKS[mask], use_cache=True)
            assert type(prefix.past_key_values) is hf.DynamicCache
            return any_model(
                input_ids=new_ids,
                attention_mask=full_mask,
                position_ids=(full_mask.cumsum(-1) - 1)[:, -n_new:],
                past_key_values=prefix.past_key_values,
                use_cache=True,
            ).logits

    assert torch.equal(continued(light), continued(model))


def test_images_change_logits_as_in_transformers(models):
    model, light, processor = models
    images = [[random_image(1), random_image(2)], [random_image(3), random_image(4)]]
    inputs = processor(text=["<image><image>hi"] * 2, images=images, return_tensors="pt")
    with torch.inference_mode():
        logits = light(**inputs).logits
        assert torch.equal(logits, model(**inputs).logits)
        assert not torch.equal(logits, light(input_ids=inputs["input_ids"]).logits)
    with pytest.raises(ValueError, match="8 image tokens do not fit"):
        light(**{**inputs, "input_ids": inputs["input_ids"][:, 4:]})


@pytest.mark.parametrize(
    ("name", "value"), [("model_type", "other"), ("vision_feature_layer", -2), ("text_config", {})]
)
def test_model_of_another_kind_is_refused(models, name, value):
    config = {**models[0].config.to_dict(), name: value}
    assert inference_model.unsupported_setting(config)
    with pytest.raises(ValueError, match="without transformers"):
        InferenceLlava(config)


IMAGES = {
    "rgb": random_image(0, 300, 200),
    "narrow": random_image(1, 3, 500),
    "grey": random_image(2).convert("L"),
    "bilevel": random_image(2).convert("1"),
    "palette": random_image(3).convert("P"),
    "transparent": Image.fromarray(np.arange(12000).astype(np.uint8).reshape(60, 50, 4)),
    "grey with alpha": random_image(4).convert("LA"),
    "cmyk": random_image(5).convert("CMYK"),
}


@pytest.mark.parametrize("name", IMAGES)
def test_pixels_and_tokens_are_those_of_transformers_to_the_last_bit(models, tmp_path, name):
    processor = models[2]
    processor.save_pretrained(tmp_path)
    light = InferenceProcessor(tmp_path)
    arguments = {"text": ["a <image> b"], "images": [[IMAGES[name]]], "return_tensors": "pt"}
    for options in ({}, {"add_special_tokens": False}):
        expected, found = processor(**arguments, **options), light(**arguments, **options)
        assert set(found) == set(expected)
        assert all(torch.equal(found[n], expected[n]) for n in found)


def test_templates_are_those_of_transformers(models, tmp_path):
    processor = models[2]
    processor.save_pretrained(tmp_path)
    turns = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "é 😀"}]}]
    light = InferenceProcessor(tmp_path)
    for generate in (True, False):
        options = {"tokenize": False, "add_generation_prompt": generate}
        assert light.apply_chat_template(turns, **options) == processor.apply_chat_template(
            turns, **options
        )
    with pytest.raises(ValueError, match="1 image tokens for 0 images"):
        light(text=["<image>"], images=[[]])


def test_answers_of_a_stored_model_are_those_of_transformers(trained_model, tmp_path):
    target = f"{builtin.model_folder()}@{builtin.adapter_folder()}"
    loaded = weights.load_inference_model(target, BackendOptions())
    settings = PredictorSettings(model="builtin", max_new_tokens=8)
    first, warm = (make(settings, tmp_path) for _ in range(2))
    assert type(warm._backend.generator.engine.model) is InferenceLlava
    assert first.predict([POST]) == warm.predict([POST])
    assert warm.fingerprint() == first.fingerprint()
    assert warm._backend.revision == loaded.revision
    state = warm._backend.generator.engine.model.state_dict()
    assert all(torch.equal(t, loaded.model.state_dict()[n]) for n, t in state.items())
    from gen_msa.backends.transformers import TransformersBackend

    warm._backend = TransformersBackend.from_model(
        loaded.model, loaded.processor, BackendOptions(), loaded.revision
    )
    (expected,), (found,) = warm.predict([POST]), first.predict([POST])
    for opinion, wanted in zip(found.opinions, expected.opinions, strict=True):
        assert (opinion.polarity, opinion.raw) == (wanted.polarity, wanted.raw)
        if wanted.probs:
            assert opinion.probs == pytest.approx(wanted.probs, abs=1e-6)


def test_mapped_weights_begin_at_whole_vectors(trained_model, tmp_path):
    make(PredictorSettings(model="builtin"), tmp_path)
    (folder,) = (tmp_path / "cache").glob("builtin-merged-*[!k]")
    header = int.from_bytes((folder / "model.safetensors").read_bytes()[:8], "little")
    assert (8 + header) % merged_model.ALIGNMENT == 0


def _stored(tmp_path):
    return sorted(p for p in (tmp_path / "cache").glob("builtin-merged-*") if p.is_dir())


def test_warm_start_neither_merges_nor_writes(trained_model, tmp_path, monkeypatch):
    make(PredictorSettings(model="builtin"), tmp_path)
    (folder,) = _stored(tmp_path)
    before = {p.name: p.stat().st_mtime_ns for p in folder.iterdir()}

    def forbid(*_):
        raise AssertionError("the model was loaded by transformers")

    monkeypatch.setattr(weights, "load_inference_model", forbid)
    make(PredictorSettings(model="builtin"), tmp_path)
    assert {p.name: p.stat().st_mtime_ns for p in folder.iterdir()} == before


@pytest.mark.parametrize("damage", ["flip", "cut", "gone"])
@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "merge.json"])
def test_damaged_stored_model_is_stored_again(trained_model, tmp_path, file, damage):
    make(PredictorSettings(model="builtin"), tmp_path)
    path = _stored(tmp_path)[0] / file
    data = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(data[:-1] if damage == "cut" else data[:-1] + bytes([data[-1] ^ 1]))
    make(PredictorSettings(model="builtin"), tmp_path)
    assert path.read_bytes() == data


def test_folder_is_named_by_weights_adapter_and_versions(trained_model, tiny, monkeypatch):
    adapter = builtin.adapter_folder()
    names = [merged_model.merged_folder(adapter)]
    (adapter / "README.md").write_text("changed", "utf-8")
    names.append(merged_model.merged_folder(adapter))
    tiny[0].write_bytes(b"newer")
    names.append(merged_model.merged_folder(adapter))
    monkeypatch.setattr(merged_model, "version", lambda package: "99")
    names.append(merged_model.merged_folder(adapter))
    assert len(set(names)) == 4


def test_adapter_is_verified_again_when_it_changed(trained_model, tmp_path):
    make(PredictorSettings(model="builtin"), tmp_path)
    path = builtin.adapter_folder() / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(UserError, match="was altered"):
        make(PredictorSettings(model="builtin"), tmp_path)


def test_least_recently_used_models_are_removed(trained_model, tmp_path):
    adapter = builtin.adapter_folder()
    used = []
    for text in ("a", "b", "c"):
        (adapter / "notes.log").write_text(text, "utf-8")
        make(PredictorSettings(model="builtin"), tmp_path)
        used.append(merged_model.merged_folder(adapter))
        os.utime(used[-1], (len(used), len(used)))
    assert _stored(tmp_path) == sorted(used[-merged_model.MAX_FOLDERS :])


@pytest.mark.parametrize("kind", ["a file in the way", "full disk", "read-only"])
def test_cache_that_cannot_be_written_gives_a_note_and_answers(
    trained_model, tmp_path, monkeypatch, kind
):
    expected = make(PredictorSettings(model="builtin", max_new_tokens=8), tmp_path).predict([POST])
    if kind == "full disk":
        shutil.rmtree(tmp_path / "cache")

        def fill(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(merged_model, "store", fill)
    elif kind == "read-only":
        shutil.rmtree(tmp_path / "cache")

        def refuse(*_, **__):
            raise OSError(30, "Read-only file system")

        monkeypatch.setattr("filelock.FileLock.acquire", refuse)
    else:
        (tmp_path / "file").touch()
        monkeypatch.setenv("GEN_MSA_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.warns(CacheWarning, match="GEN_MSA_CACHE"):
        predictor = make(PredictorSettings(model="builtin", max_new_tokens=8), tmp_path)
    found = predictor.predict([POST])
    assert [o.raw for o in found[0].opinions] == [o.raw for o in expected[0].opinions]


def test_filled_cache_needs_no_writing(trained_model, tmp_path, monkeypatch):
    make(PredictorSettings(model="builtin"), tmp_path)

    def forbid(*_, **__):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "utime", forbid)
    monkeypatch.setattr(merged_model, "store", forbid)
    with warnings.catch_warnings():
        warnings.simplefilter("error", CacheWarning)
        make(PredictorSettings(model="builtin"), tmp_path)


def _start(folder, results):
    results.put(
        [
            o.raw
            for o in make(PredictorSettings(model="builtin"), folder).predict([POST])[0].opinions
        ]
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_concurrent_first_starts_store_once_and_agree(trained_model, tmp_path, monkeypatch):
    builtin.model_folder()
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    processes = [context.Process(target=_start, args=(tmp_path, results)) for _ in range(3)]
    for process in processes:
        process.start()
    answers = [results.get(timeout=120) for _ in processes]
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert answers[0]
    assert answers == [answers[0]] * 3
    (folder,) = _stored(tmp_path)
    assert manifest.is_intact(folder)


def test_other_precisions_use_transformers(trained_model, tmp_path):
    settings = PredictorSettings(model="builtin", backend=BackendOptions(dtype="bfloat16"))
    backend = make(settings, tmp_path)._backend
    assert type(backend.generator.engine.model) is hf.LlavaForConditionalGeneration
    assert not _stored(tmp_path)
