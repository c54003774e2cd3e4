"""A folder that could run, fetch, unpickle or lead elsewhere is refused before it is read."""

import json
import shutil

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

import torch
from safetensors.torch import save_file

from gen_msa import safety_scan
from gen_msa.backends import BackendOptions
from gen_msa.backends.hf import weights
from gen_msa.errors import UserError
from tests.fixtures.tiny_models import FAMILIES, tiny_model
from tests.fixtures.unsafe_models import (
    REMOTE_CODE,
    UNSAFE_FOLDERS,
    record_events,
    save_tiny_model,
    update_json,
    write_file,
)

OPTIONS = BackendOptions(device="cpu")


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("models") / "llama")


@pytest.mark.parametrize("name", UNSAFE_FOLDERS)
def test_crafted_folder_is_refused_by_name_without_running_code(llama, tmp_path, name):
    corrupt, message = UNSAFE_FOLDERS[name]
    folder = tmp_path / "model"
    shutil.copytree(llama, folder)
    corrupt(folder)
    with record_events() as events, pytest.raises(UserError) as error:
        weights.load_model_and_processor(str(folder), OPTIONS)
    assert message in str(error.value)
    assert error.value.hint
    assert {event for event, _ in events} <= {"open"}
    paths = [path for event, path in events if event == "open" and str(folder) in path]
    assert all(path.endswith(".json") for path in paths)


def test_at_least_20_crafted_folders_are_tested():
    assert len(UNSAFE_FOLDERS) >= 20


@pytest.mark.parametrize(
    "corrupt",
    [
        update_json("adapter_config.json", megatron_config={"a": 1}, megatron_core="evil_module"),
        update_json("adapter_config.json", megatron_core="evil_module"),
        update_json("adapter_config.json", auto_mapping={"parent_library": "evil_module"}),
        write_file("adapter_model.bin"),
        write_file("modeling.py"),
    ],
)
def test_crafted_adapter_is_refused(llama, tmp_path, corrupt):
    (tmp_path / "a").mkdir()
    corrupt(tmp_path / "a")
    with pytest.raises(UserError, match=r"adapter_config|adapter_model|modeling"):
        weights.load_model_and_processor(f"{llama}@{tmp_path / 'a'}", OPTIONS)


@pytest.mark.parametrize("family", FAMILIES)
def test_folders_saved_by_transformers_are_accepted(family, tmp_path):
    tiny = tiny_model(family)
    tiny.model.save_pretrained(tmp_path)
    tokenizer = getattr(tiny.processor, "tokenizer", tiny.processor)
    tokenizer.save_pretrained(tmp_path)
    if tokenizer is not tiny.processor:
        tiny.processor.image_processor.save_pretrained(tmp_path)
    assert len(list(tmp_path.iterdir())) >= 4
    safety_scan.scan_folder(tmp_path, "model")


def test_hub_snapshot_with_links_loads(llama, tmp_path):
    snapshot = tmp_path / "models--a--b" / "snapshots" / ("0" * 40)
    blobs = tmp_path / "models--a--b" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for number, path in enumerate(sorted(llama.iterdir())):
        shutil.copy(path, blobs / f"{number:064d}")
        (snapshot / path.name).symlink_to(f"../../blobs/{number:064d}")
    model, _, _ = weights.load_model_and_processor(str(snapshot), OPTIONS)
    assert model.config.model_type == "llama"
    (snapshot / "more.json").symlink_to("../../../elsewhere")
    with pytest.raises(UserError, match="link out"):
        weights.load_model_and_processor(str(snapshot), OPTIONS)


def test_vocabulary_may_hold_any_word(llama, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(llama, folder)
    vocabulary = {"_internal": 1, "auto_map": 2, "trust_remote_code": 3}
    (folder / "vocab.json").write_text(json.dumps(vocabulary), "utf-8")
    update_json("tokenizer.json", model={"vocab": vocabulary})(folder)
    safety_scan.scan_folder(folder, "model")
    update_json("config.json", auto_map=REMOTE_CODE)(folder)
    with pytest.raises(UserError, match="auto_map"):
        safety_scan.scan_folder(folder, "model")


def test_harmless_settings_are_accepted(llama, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(llama, folder)
    update_json("config.json", trust_remote_code=False, auto_map={}, _attn_implementation="sdpa")(
        folder
    )
    weights.load_model_and_processor(str(folder), OPTIONS)
    assert weights.folder_revision(folder) != weights.folder_revision(llama)


@pytest.mark.parametrize(
    "name",
    [
        "training_args.bin",
        "optimizer.pt",
        "scheduler.pt",
        "rng_state.pth",
        "rng_state_0.pth",
        "original/consolidated.00.pth",
    ],
)
def test_files_that_no_loader_opens_are_passed_over(name, tmp_path):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"\x80\x04.")
    (tmp_path / "args.json").write_text('{"trust_remote_code": true}')
    safety_scan.scan_folder(tmp_path, "adapter")
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(UserError, match=r"pytorch_model\.bin: pickles can run code"):
        safety_scan.scan_folder(tmp_path, "adapter")


@pytest.mark.parametrize(
    ("config", "key"),
    [
        ({"num_hidden_layers": 10**7}, "num_hidden_layers"),
        ({"text_config": {"num_hidden_layers": 10**7}}, "text_config.num_hidden_layers"),
        ({"vision_config": {"depths": [2, 10**6]}}, "vision_config.depths"),
        ({"hidden_size": 10**9}, "hidden_size"),
        ({"vocab_size": 10**12}, "vocab_size"),
    ],
)
def test_sizes_beyond_the_weights_are_refused(tmp_path, config, key):
    save_tiny_model(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **config}))
    with pytest.raises(UserError, match=rf"key '{key}': .* more than the weights have"):
        safety_scan.scan_folder(tmp_path, "model")


def test_config_of_a_larger_model_than_its_weights_is_refused(tmp_path):
    save_tiny_model(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "intermediate_size": 200_000}))
    with pytest.raises(UserError, match="its config is for"):
        weights.load_pretrained(tmp_path, "auto")


@pytest.mark.parametrize("change", [{"r": 10**6}, {"rank_pattern": {"q_proj": 10**6}}])
def test_rank_beyond_the_weights_of_an_adapter_is_refused(tmp_path, change):
    save_file({"x.lora_A.weight": torch.zeros(4, 16)}, tmp_path / "adapter_model.safetensors")
    (tmp_path / "adapter_config.json").write_text(json.dumps({"r": 4, **change}))
    with pytest.raises(UserError, match="more than the weights have"):
        safety_scan.scan_folder(tmp_path, "adapter")


def test_damaged_header_is_refused(tmp_path):
    save_tiny_model(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"\xff" * 64)
    with pytest.raises(UserError, match="not a readable safetensors file"):
        safety_scan.scan_folder(tmp_path, "model")
