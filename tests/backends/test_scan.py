"""A folder that could run, fetch, unpickle or lead elsewhere is refused before it is read."""

import json
import shutil

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

from gen_msa.backends import BackendOptions
from gen_msa.backends.local import scan, weights
from gen_msa.errors import UserError
from tests.fixtures.crafted import CRAFTED, OWN, listening, put, saved, write
from tests.fixtures.tiny_models import FAMILIES, tiny_model

OPTIONS = BackendOptions(device="cpu")


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("models") / "llama")


@pytest.mark.parametrize("name", CRAFTED)
def test_a_crafted_folder_is_refused_by_name_and_nothing_in_it_is_run(llama, tmp_path, name):
    spoil, said = CRAFTED[name]
    folder = tmp_path / "model"
    shutil.copytree(llama, folder)
    spoil(folder)
    with listening() as heard, pytest.raises(UserError) as refused:
        weights.load(str(folder), OPTIONS)
    assert said in str(refused.value)
    assert refused.value.mend
    assert {event for event, _ in heard} <= {"open"}
    opened = [path for event, path in heard if event == "open" and str(folder) in path]
    assert all(path.endswith(".json") for path in opened)


def test_more_than_twenty_folders_are_crafted():
    assert len(CRAFTED) >= 20


@pytest.mark.parametrize(
    "spoil",
    [
        put("adapter_config.json", megatron_config={"a": 1}, megatron_core="evil_module"),
        put("adapter_config.json", megatron_core="evil_module"),
        put("adapter_config.json", auto_mapping={"parent_library": "evil_module"}),
        write("adapter_model.bin"),
        write("modeling.py"),
    ],
)
def test_a_crafted_adapter_is_refused(llama, tmp_path, spoil):
    (tmp_path / "a").mkdir()
    spoil(tmp_path / "a")
    with pytest.raises(UserError, match=r"adapter_config|adapter_model|modeling"):
        weights.load(f"{llama}@{tmp_path / 'a'}", OPTIONS)


@pytest.mark.parametrize("family", FAMILIES)
def test_folders_as_transformers_saves_them_pass(family, tmp_path):
    tiny = tiny_model(family)
    tiny.model.save_pretrained(tmp_path)
    tokenizer = getattr(tiny.processor, "tokenizer", tiny.processor)
    tokenizer.save_pretrained(tmp_path)
    if tokenizer is not tiny.processor:
        tiny.processor.image_processor.save_pretrained(tmp_path)
    assert len(list(tmp_path.iterdir())) >= 4
    scan.scan(tmp_path, "model")


def test_a_snapshot_in_the_hubs_cache_whose_files_are_links_loads(llama, tmp_path):
    snapshot = tmp_path / "models--a--b" / "snapshots" / ("0" * 40)
    blobs = tmp_path / "models--a--b" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for number, path in enumerate(sorted(llama.iterdir())):
        shutil.copy(path, blobs / f"{number:064d}")
        (snapshot / path.name).symlink_to(f"../../blobs/{number:064d}")
    model, _, _ = weights.load(str(snapshot), OPTIONS)
    assert model.config.model_type == "llama"
    (snapshot / "more.json").symlink_to("../../../elsewhere")
    with pytest.raises(UserError, match="link out"):
        weights.load(str(snapshot), OPTIONS)


def test_a_vocabulary_may_hold_any_word(llama, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(llama, folder)
    words = {"_internal": 1, "auto_map": 2, "trust_remote_code": 3}
    (folder / "vocab.json").write_text(json.dumps(words), "utf-8")
    put("tokenizer.json", model={"vocab": words})(folder)
    scan.scan(folder, "model")
    put("config.json", auto_map=OWN)(folder)
    with pytest.raises(UserError, match="auto_map"):
        scan.scan(folder, "model")


def test_settings_that_do_nothing_are_let_pass(llama, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(llama, folder)
    put("config.json", trust_remote_code=False, auto_map={}, _attn_implementation="sdpa")(folder)
    weights.load(str(folder), OPTIONS)
    assert weights.revision(folder) != weights.revision(llama)
