"""An adapter is used on its own base, whole, in full, and with an effect; or it is refused."""

import json
import random
import shutil

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")
pytest.importorskip("peft", reason="peft is not installed")

import torch
from safetensors.torch import load_file, save_file

from gen_msa import manifest
from gen_msa.backends.hf import adapters, probe, weights
from gen_msa.backends.transformers import TransformersBackend
from gen_msa.errors import UserError
from tests.backends.sample_requests import build_requests
from tests.backends.tiny_adapters import OPTIONS, saved, train
from tests.fixtures.tiny_models import tiny_model

WITH_VISION = ("llava", "idefics3", "qwen2_5_vl")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("trained")
    for family in ("llama", "qwen2", "idefics3", "llava"):
        saved(family, root / family)
        train(root / family, root / f"{family}-adapter")
    saved("llama", root / "llama2", seed=5)
    return root


def copy_folder(folder, target):
    """A copy that is the test's own to spoil."""
    shutil.copytree(folder, target)
    return target


def reseal(folder):
    manifest.seal(folder)
    return folder


def change_metadata(folder, **fields):
    """Other facts in `inference.json`, sealed as if they had been written so."""
    path = folder / adapters.ADAPTER_METADATA_FILE
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **fields}), "utf-8")
    return reseal(folder)


@pytest.mark.parametrize("family", ["llama", "qwen2", "idefics3", "llava"])
def test_adapter_loads_on_its_base_with_metadata(root, family):
    loaded = weights.load_inference_model(f"{root / family}@{root / f'{family}-adapter'}", OPTIONS)
    assert loaded.metadata is not None
    assert loaded.metadata.base == str(root / family)
    assert loaded.notes == {}
    assert loaded.metadata.probe is not None
    assert loaded.metadata.probe.with_image == (family in WITH_VISION)
    backend = TransformersBackend(f"{root / family}@{root / f'{family}-adapter'}", OPTIONS)
    assert backend.training_metadata == loaded.metadata
    assert backend.complete(build_requests()[:1])[0].finish_reason != "error"


def test_any_flipped_bit_is_refused(root, tmp_path):
    folder = copy_folder(root / "llama-adapter", tmp_path / "a")
    _, processor, _ = weights.load_model_and_processor(str(root / "llama"), OPTIONS)
    base = weights.base_hash(root / "llama")
    rng = random.Random(1)
    # The card is for people; nothing reads it, but it is sealed like the rest.
    paths = sorted(p for p in folder.iterdir() if p.is_file())
    assert len(paths) >= 4
    n_refused = 0
    for _ in range(100):
        path = rng.choice(paths)
        good = path.read_bytes()
        bad = bytearray(good)
        bad[rng.randrange(len(bad))] ^= 1 << rng.randrange(8)
        path.write_bytes(bad)
        try:
            adapters.verify_adapter_files(folder, processor, base)
        except UserError:
            n_refused += 1
        path.write_bytes(good)
    assert n_refused == 100
    adapters.verify_adapter_files(folder, processor, base)


@pytest.mark.parametrize("size", [0, 100, 0.5, 0.99])
def test_truncated_adapter_is_refused(root, tmp_path, size):
    folder = copy_folder(root / "llama-adapter", tmp_path / "a")
    path = folder / adapters.ADAPTER_WEIGHTS_FILE
    data = path.read_bytes()
    path.write_bytes(data[: int(size * len(data)) if isinstance(size, float) else size])
    with pytest.raises(UserError, match=r"bytes, not the|not a readable safetensors file"):
        weights.load_model_and_processor(f"{root / 'llama'}@{folder}", OPTIONS)


MISMATCHES = [
    ("llama-adapter", "llama2", True, "another base"),  # same shapes, other weights
    ("llama-adapter", "qwen2", True, "another base"),  # another architecture
    ("idefics3-adapter", "llama", True, "another base"),  # one with eyes, one without
    ("llama-adapter", "wide", False, "does not fit"),  # same names, other shapes
    ("idefics3-adapter", "llama", False, "does not fit"),  # other names: nothing matches
    ("deep-adapter", "llama", False, "does not have"),  # more layers than the base has
    ("llama-adapter", "deep", False, "lacks"),  # fewer layers than the base has
]


@pytest.fixture(scope="module")
def mismatched_bases(root):
    """Bases like the tiny Llama but wider or deeper."""
    import transformers as hf

    tiny = tiny_model("llama")
    for name, changes in (
        ("wide", {"hidden_size": 64, "head_dim": 16}),
        ("deep", {"num_hidden_layers": 4}),
    ):
        torch.manual_seed(1)
        config = type(tiny.model.config)(**{**tiny.model.config.to_dict(), **changes})
        hf.LlamaForCausalLM(config).save_pretrained(root / name)
        tiny.processor.save_pretrained(root / name)
        train(root / name, root / f"{name}-adapter")
    return root


@pytest.mark.parametrize(("adapter", "base", "has_metadata", "message"), MISMATCHES)
def test_adapter_on_wrong_base_is_refused(
    mismatched_bases, tmp_path, adapter, base, has_metadata, message
):
    folder = copy_folder(mismatched_bases / adapter, tmp_path / "a")
    if not has_metadata:
        for name in (adapters.ADAPTER_METADATA_FILE, manifest.MANIFEST_NAME):
            (folder / name).unlink()
    with pytest.raises(UserError, match=message):
        weights.load_model_and_processor(f"{mismatched_bases / base}@{folder}", OPTIONS)


def test_unmatched_tensor_names_are_refused(root, tmp_path):
    folder = train(root / "llama", tmp_path / "a", with_metadata=False)
    tensors = load_file(folder / adapters.ADAPTER_WEIGHTS_FILE)
    renamed = {
        k.replace("base_model.model.", "base_model.model.other."): v for k, v in tensors.items()
    }
    save_file(renamed, folder / adapters.ADAPTER_WEIGHTS_FILE)
    with pytest.raises(UserError, match="does not fit this model"):
        weights.load_model_and_processor(f"{root / 'llama'}@{folder}", OPTIONS)


def test_missing_tensor_is_refused(root, tmp_path):
    folder = train(root / "llama", tmp_path / "a", with_metadata=False)
    tensors = load_file(folder / adapters.ADAPTER_WEIGHTS_FILE)
    tensors.pop(sorted(tensors)[0])
    save_file(tensors, folder / adapters.ADAPTER_WEIGHTS_FILE)
    with pytest.raises(UserError, match="the adapter lacks 1 tensors"):
        weights.load_model_and_processor(f"{root / 'llama'}@{folder}", OPTIONS)


def test_adapter_without_effect_is_refused(root, tmp_path):
    folder = train(root / "llama", tmp_path / "a", with_metadata=False, init_lora_weights=True)
    with pytest.raises(UserError, match="has no effect"):
        weights.load_model_and_processor(f"{root / 'llama'}@{folder}", OPTIONS)


def test_foreign_adapter_is_used_with_unchecked_note(root, tmp_path):
    folder = train(root / "llama", tmp_path / "a", with_metadata=False)
    backend = TransformersBackend(f"{root / 'llama'}@{folder}", OPTIONS)
    assert backend.training_metadata is None
    notes = backend.complete(build_requests()[:1])[0].notes
    assert "not checked" in notes["adapter"]


def test_other_chat_template_is_refused(root, tmp_path):
    base = copy_folder(root / "llama", tmp_path / "base")
    path = base / "chat_template.jinja"
    path.write_text(path.read_text("utf-8") + " ", "utf-8")
    with pytest.raises(UserError, match="another chat template"):
        weights.load_model_and_processor(f"{base}@{root / 'llama-adapter'}", OPTIONS)


@pytest.mark.parametrize(
    ("corrupt", "message"),
    [
        (lambda p: {"adapted": [v + 0.1 for v in p["adapted"]]}, "the adapted model scores"),
        (lambda p: {"base": [v - 0.1 for v in p["base"]]}, "the base model scores"),
        (lambda p: {"ids": p["ids"][1:]}, "other tokens for the probe"),
        (lambda p: {"adapted": [float("nan") for _ in p["adapted"]]}, "adapted"),
    ],
)
def test_probe_mismatch_is_refused(root, tmp_path, corrupt, message):
    folder = copy_folder(root / "llama-adapter", tmp_path / "a")
    recorded = json.loads((folder / adapters.ADAPTER_METADATA_FILE).read_text("utf-8"))["probe"]
    change_metadata(folder, probe={**recorded, **corrupt(recorded)})
    with pytest.raises(UserError, match=message):
        weights.load_model_and_processor(f"{root / 'llama'}@{folder}", OPTIONS)


def test_recorded_probe_matches_at_half_precision(root):
    options = OPTIONS.model_copy(update={"dtype": "bfloat16"})
    loaded = weights.load_inference_model(f"{root / 'llama'}@{root / 'llama-adapter'}", options)
    assert loaded.revision.endswith("/bfloat16")
    assert loaded.metadata is not None


def test_probe_recorded_in_mixed_precision_matches_in_full_precision(root, tmp_path):
    model, processor, _ = weights.load_model_and_processor(str(root / "llama"), OPTIONS)
    folder = copy_folder(root / "llama-adapter", tmp_path / "a")
    tuned = adapters.apply_adapter(
        model, processor, folder, weights.base_hash(root / "llama")
    ).model
    with torch.autocast("cpu", dtype=torch.bfloat16):
        recorded = probe.record_probe(tuned, processor)
    assert recorded.precision == "bfloat16"
    change_metadata(folder, probe=recorded.model_dump(mode="json"))
    assert weights.load_inference_model(f"{root / 'llama'}@{folder}", OPTIONS).notes == {}


@pytest.mark.parametrize(
    ("offset", "precision", "accepted"),
    [(1.9, "float32", True), (2.1, "float32", False), (1.9, "bfloat16", False)],
)
def test_tolerance_scales_with_score_change_across_precisions(offset, precision, accepted):
    """The base's scores are 0, the adapter's 10 on one token: a fifth of that is rounding."""
    recorded = probe.AdapterProbe(
        text="?",
        with_image=False,
        precision="bfloat16",
        ids=(0,),
        tokens=(0, 1),
        base=(0.0, 0.0),
        adapted=(-10.0, 0.0),
    )
    scores = torch.tensor([[-10.0 + offset, 0.0]])
    measured = probe.ProbeMeasurement((0,), scores, torch.zeros(1, 2))
    if accepted:
        probe.compare_probe(recorded, measured, precision)
    else:
        with pytest.raises(ValueError, match="the adapted model scores"):
            probe.compare_probe(recorded, measured, precision)


def test_recording_probe_keeps_training_mode(root):
    import peft

    model, processor, _ = weights.load_model_and_processor(str(root / "llama"), OPTIONS)
    config = peft.LoraConfig(r=2, target_modules=["q_proj"], lora_dropout=0.5)
    tuned = peft.get_peft_model(model, config).train()
    first, second = probe.record_probe(tuned, processor), probe.record_probe(tuned, processor)
    assert first == second
    assert tuned.training
    assert first.base == first.adapted


def test_trained_projector_is_part_of_adapter(root, tmp_path):
    folder = train(
        root / "llava",
        tmp_path / "a",
        target_modules=["q_proj"],
        modules_to_save=["multi_modal_projector"],
    )
    loaded = weights.load_inference_model(f"{root / 'llava'}@{folder}", OPTIONS)
    assert loaded.metadata is not None
    tensors = load_file(folder / adapters.ADAPTER_WEIGHTS_FILE)
    name = next(k for k in tensors if "projector" in k)
    tensors.pop(name)
    save_file(tensors, folder / adapters.ADAPTER_WEIGHTS_FILE)
    with pytest.raises(UserError, match="does not fit"):
        weights.load_model_and_processor(f"{root / 'llava'}@{reseal(folder)}", OPTIONS)


@pytest.mark.parametrize("fields", [{"base": 1}, {"more": 1}, {"probe": {"text": "x"}}])
def test_invalid_metadata_is_refused(root, tmp_path, fields):
    folder = change_metadata(copy_folder(root / "llama-adapter", tmp_path / "a"), **fields)
    with pytest.raises(UserError, match="another version"):
        weights.load_model_and_processor(f"{root / 'llama'}@{folder}", OPTIONS)


def test_base_hash_depends_only_on_weights_and_architecture(root, tmp_path):
    base = copy_folder(root / "llama", tmp_path / "base")
    first = weights.base_hash(base)
    config = json.loads((base / "config.json").read_text("utf-8"))
    edited = {**config, "transformers_version": "99", "dtype": "bfloat16"}
    (base / "config.json").write_text(json.dumps(edited), "utf-8")
    (base / "tokenizer_config.json").write_text("{}", "utf-8")
    assert weights.base_hash(base) == first
    (base / "config.json").write_text(json.dumps({**config, "rms_norm_eps": 1.0}), "utf-8")
    assert weights.base_hash(base) != first


def test_altered_sealed_base_is_refused(root, tmp_path):
    base = copy_folder(root / "llama", tmp_path / "base")
    manifest.seal(base)
    weights.load_model_and_processor(str(base), OPTIONS)
    data = bytearray((base / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (base / "model.safetensors").write_bytes(data)
    with pytest.raises(UserError, match=r"model\.safetensors was altered"):
        weights.load_model_and_processor(str(base), OPTIONS)
