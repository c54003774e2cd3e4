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
from gen_msa.backends.local import adapters, probe, weights
from gen_msa.backends.transformers import TransformersBackend
from gen_msa.errors import UserError
from tests.backends.chats import asked
from tests.backends.trained import OPTIONS, saved, train
from tests.fixtures.tiny_models import tiny_model

EYES = ("llava", "idefics3", "qwen2_5_vl")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("trained")
    for family in ("llama", "qwen2", "idefics3", "llava"):
        saved(family, root / family)
        train(root / family, root / f"{family}-adapter")
    saved("llama", root / "llama2", seed=5)
    return root


def again(folder, target):
    """A copy that is the test's own to spoil."""
    shutil.copytree(folder, target)
    return target


def resealed(folder):
    manifest.seal(folder)
    return folder


def change(folder, **fields):
    """Other facts in `reading.json`, sealed as if they had been written so."""
    path = folder / adapters.NAME
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **fields}), "utf-8")
    return resealed(folder)


@pytest.mark.parametrize("family", ["llama", "qwen2", "idefics3", "llava"])
def test_an_adapter_loads_on_its_base_and_says_how_it_was_trained(root, family):
    found = weights.opened(f"{root / family}@{root / f'{family}-adapter'}", OPTIONS)
    assert found.facts is not None
    assert found.facts.base == str(root / family)
    assert found.notes == {}
    assert found.facts.probe is not None
    assert found.facts.probe.pictured == (family in EYES)
    backend = TransformersBackend(f"{root / family}@{root / f'{family}-adapter'}", OPTIONS)
    assert backend.trained == found.facts
    assert backend.complete(asked()[:1])[0].finish_reason != "error"


def test_each_of_100_flipped_bits_in_any_file_is_refused(root, tmp_path):
    folder = again(root / "llama-adapter", tmp_path / "a")
    _, processor, _ = weights.load(str(root / "llama"), OPTIONS)
    base = weights.base_hash(root / "llama")
    rng = random.Random(1)
    # The card is for people; nothing reads it, but it is sealed like the rest.
    paths = sorted(p for p in folder.iterdir() if p.is_file())
    assert len(paths) >= 4
    refused = 0
    for _ in range(100):
        path = rng.choice(paths)
        good = path.read_bytes()
        bad = bytearray(good)
        bad[rng.randrange(len(bad))] ^= 1 << rng.randrange(8)
        path.write_bytes(bad)
        try:
            adapters.verify(folder, processor, base)
        except UserError:
            refused += 1
        path.write_bytes(good)
    assert refused == 100
    adapters.verify(folder, processor, base)


@pytest.mark.parametrize("keep", [0, 100, 0.5, 0.99])
def test_a_truncated_adapter_is_refused(root, tmp_path, keep):
    folder = again(root / "llama-adapter", tmp_path / "a")
    path = folder / adapters.WEIGHTS
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data)) if isinstance(keep, float) else keep])
    with pytest.raises(UserError, match="bytes, not the"):
        weights.load(f"{root / 'llama'}@{folder}", OPTIONS)


PAIRS = [
    ("llama-adapter", "llama2", True, "another base"),  # same shapes, other weights
    ("llama-adapter", "qwen2", True, "another base"),  # another architecture
    ("idefics3-adapter", "llama", True, "another base"),  # one with eyes, one without
    ("llama-adapter", "wide", False, "does not fit"),  # same names, other shapes
    ("idefics3-adapter", "llama", False, "does not fit"),  # other names: nothing matches
    ("deep-adapter", "llama", False, "has no place for"),  # more layers than the base has
    ("llama-adapter", "deep", False, "lacks"),  # fewer layers than the base has
]


@pytest.fixture(scope="module")
def odd(root):
    """Bases like the tiny Llama but wider or deeper."""
    import transformers as hf

    tiny = tiny_model("llama")
    for name, more in (
        ("wide", {"hidden_size": 64, "head_dim": 16}),
        ("deep", {"num_hidden_layers": 4}),
    ):
        torch.manual_seed(1)
        config = type(tiny.model.config)(**{**tiny.model.config.to_dict(), **more})
        hf.LlamaForCausalLM(config).save_pretrained(root / name)
        tiny.processor.save_pretrained(root / name)
        train(root / name, root / f"{name}-adapter")
    return root


@pytest.mark.parametrize(("adapter", "base", "ours", "said"), PAIRS)
def test_an_adapter_on_a_wrong_base_is_refused(odd, tmp_path, adapter, base, ours, said):
    folder = again(odd / adapter, tmp_path / "a")
    if not ours:
        for name in (adapters.NAME, manifest.NAME):
            (folder / name).unlink()
    with pytest.raises(UserError, match=said):
        weights.load(f"{odd / base}@{folder}", OPTIONS)


def test_tensors_whose_names_match_nothing_are_refused_not_left_out(root, tmp_path):
    folder = train(root / "llama", tmp_path / "a", facts=False)
    tensors = load_file(folder / adapters.WEIGHTS)
    lost = {
        k.replace("base_model.model.", "base_model.model.other."): v for k, v in tensors.items()
    }
    save_file(lost, folder / adapters.WEIGHTS)
    with pytest.raises(UserError, match="does not fit this model"):
        weights.load(f"{root / 'llama'}@{folder}", OPTIONS)


def test_one_tensor_too_few_is_refused(root, tmp_path):
    folder = train(root / "llama", tmp_path / "a", facts=False)
    tensors = load_file(folder / adapters.WEIGHTS)
    tensors.pop(sorted(tensors)[0])
    save_file(tensors, folder / adapters.WEIGHTS)
    with pytest.raises(UserError, match="the adapter lacks 1 tensors"):
        weights.load(f"{root / 'llama'}@{folder}", OPTIONS)


def test_an_adapter_that_changes_nothing_is_refused(root, tmp_path):
    folder = train(root / "llama", tmp_path / "a", facts=False, init_lora_weights=True)
    with pytest.raises(UserError, match="changes nothing"):
        weights.load(f"{root / 'llama'}@{folder}", OPTIONS)


def test_an_adapter_from_elsewhere_is_used_and_what_was_not_checked_is_noted(root, tmp_path):
    folder = train(root / "llama", tmp_path / "a", facts=False)
    backend = TransformersBackend(f"{root / 'llama'}@{folder}", OPTIONS)
    assert backend.trained is None
    notes = backend.complete(asked()[:1])[0].notes
    assert "not checked" in notes["adapter"]


def test_another_chat_template_is_refused(root, tmp_path):
    base = again(root / "llama", tmp_path / "base")
    path = base / "chat_template.jinja"
    path.write_text(path.read_text("utf-8") + " ", "utf-8")
    with pytest.raises(UserError, match="another chat template"):
        weights.load(f"{base}@{root / 'llama-adapter'}", OPTIONS)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda p: {"adapted": [v + 0.1 for v in p["adapted"]]}, "the adapted model scores"),
        (lambda p: {"base": [v - 0.1 for v in p["base"]]}, "the base model scores"),
        (lambda p: {"ids": p["ids"][1:]}, "other tokens of the probe"),
        (lambda p: {"adapted": [float("nan") for _ in p["adapted"]]}, "adapted"),
    ],
)
def test_a_probe_that_is_answered_otherwise_is_refused(root, tmp_path, spoil, said):
    folder = again(root / "llama-adapter", tmp_path / "a")
    recorded = json.loads((folder / adapters.NAME).read_text("utf-8"))["probe"]
    change(folder, probe={**recorded, **spoil(recorded)})
    with pytest.raises(UserError, match=said):
        weights.load(f"{root / 'llama'}@{folder}", OPTIONS)


def test_the_recorded_probe_holds_at_half_precision_too(root):
    options = OPTIONS.model_copy(update={"dtype": "bfloat16"})
    found = weights.opened(f"{root / 'llama'}@{root / 'llama-adapter'}", options)
    assert found.revision.endswith("/bfloat16")
    assert found.facts is not None


def test_what_was_recorded_in_mixed_precision_holds_in_full_precision(root, tmp_path):
    model, processor, _ = weights.load(str(root / "llama"), OPTIONS)
    folder = again(root / "llama-adapter", tmp_path / "a")
    tuned = adapters.wear(model, processor, folder, weights.base_hash(root / "llama")).model
    with torch.autocast("cpu", dtype=torch.bfloat16):
        recorded = probe.record(tuned, processor)
    assert recorded.precision == "bfloat16"
    change(folder, probe=recorded.model_dump(mode="json"))
    assert weights.opened(f"{root / 'llama'}@{folder}", OPTIONS).notes == {}


@pytest.mark.parametrize(
    ("off", "now", "held"),
    [(1.9, "float32", True), (2.1, "float32", False), (1.9, "bfloat16", False)],
)
def test_another_precision_may_move_what_was_trained_hard_by_a_share_of_it(off, now, held):
    """The base's scores are 0, the adapter's 10 on one token: a fifth of that is rounding."""
    asked = probe.Probe(
        text="?",
        pictured=False,
        precision="bfloat16",
        ids=(0,),
        tokens=(0, 1),
        base=(0.0, 0.0),
        adapted=(-10.0, 0.0),
    )
    scores = torch.tensor([[-10.0 + off, 0.0]])
    found = probe.Measured((0,), scores, torch.zeros(1, 2))
    if held:
        probe.check(asked, found, now)
    else:
        with pytest.raises(ValueError, match="the adapted model scores"):
            probe.check(asked, found, now)


def test_recording_leaves_the_model_in_its_mode(root):
    import peft

    model, processor, _ = weights.load(str(root / "llama"), OPTIONS)
    config = peft.LoraConfig(r=2, target_modules=["q_proj"], lora_dropout=0.5)
    tuned = peft.get_peft_model(model, config).train()
    one, two = probe.record(tuned, processor), probe.record(tuned, processor)
    assert one == two
    assert tuned.training
    assert one.base == one.adapted


def test_a_trained_projector_is_part_of_the_adapter(root, tmp_path):
    folder = train(
        root / "llava",
        tmp_path / "a",
        target_modules=["q_proj"],
        modules_to_save=["multi_modal_projector"],
    )
    found = weights.opened(f"{root / 'llava'}@{folder}", OPTIONS)
    assert found.facts is not None
    tensors = load_file(folder / adapters.WEIGHTS)
    name = next(k for k in tensors if "projector" in k)
    tensors.pop(name)
    save_file(tensors, folder / adapters.WEIGHTS)
    with pytest.raises(UserError, match="does not fit"):
        weights.load(f"{root / 'llava'}@{resealed(folder)}", OPTIONS)


@pytest.mark.parametrize("fields", [{"base": 1}, {"more": 1}, {"probe": {"text": "x"}}])
def test_facts_that_cannot_be_read_are_refused(root, tmp_path, fields):
    folder = change(again(root / "llama-adapter", tmp_path / "a"), **fields)
    with pytest.raises(UserError, match="another version"):
        weights.load(f"{root / 'llama'}@{folder}", OPTIONS)


def test_the_hash_of_a_base_follows_weights_and_shape_and_nothing_else(root, tmp_path):
    base = again(root / "llama", tmp_path / "base")
    first = weights.base_hash(base)
    config = json.loads((base / "config.json").read_text("utf-8"))
    later = {**config, "transformers_version": "99", "dtype": "bfloat16"}
    (base / "config.json").write_text(json.dumps(later), "utf-8")
    (base / "tokenizer_config.json").write_text("{}", "utf-8")
    assert weights.base_hash(base) == first
    (base / "config.json").write_text(json.dumps({**config, "rms_norm_eps": 1.0}), "utf-8")
    assert weights.base_hash(base) != first


def test_a_sealed_base_that_was_altered_is_refused(root, tmp_path):
    base = again(root / "llama", tmp_path / "base")
    manifest.seal(base)
    weights.load(str(base), OPTIONS)
    data = bytearray((base / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (base / "model.safetensors").write_bytes(data)
    with pytest.raises(UserError, match=r"model\.safetensors was altered"):
        weights.load(str(base), OPTIONS)
