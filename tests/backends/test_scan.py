"""A folder that could run, fetch, unpickle or lead elsewhere is refused before it is read."""

import json
import shutil
import sys

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

import torch

from gen_msa.backends import BackendOptions
from gen_msa.backends.local import scan, weights
from gen_msa.errors import UserError
from tests.fixtures.tiny_models import FAMILIES, tiny_model

OPTIONS = BackendOptions(device="cpu")
HEARD: list[tuple[str, str]] = []
LISTENING = [False]


def _listen(event, arguments):
    if LISTENING[0] and event in ("import", "exec", "open", "marshal.loads", "pickle.find_class"):
        HEARD.append((event, str(arguments[0])))


sys.addaudithook(_listen)


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "llama"
    tiny = tiny_model("llama")
    tiny.model.save_pretrained(folder)
    tiny.processor.save_pretrained(folder)
    return folder


def put(name, **keys):
    """Adds keys to a JSON file of the folder, which is made if it is not there."""

    def spoil(folder):
        path = folder / name
        tree = json.loads(path.read_text("utf-8")) if path.exists() else {}
        path.write_text(json.dumps({**tree, **keys}), "utf-8")

    return spoil


def write(name, content=b"raise SystemExit('code was run')"):
    def spoil(folder):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)

    return spoil


def only_pickle(folder):
    (folder / "model.safetensors").unlink()
    torch.save(tiny_model("llama").model.state_dict(), folder / "pytorch_model.bin")


def linked(name, target):
    def spoil(folder):
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(target)

    return spoil


OWN = {"AutoConfig": "code.Own", "AutoModelForCausalLM": "code.Own"}
HUB = "kernels-community/flash-attn2"
CRAFTED = {
    "auto_map": (put("config.json", model_type="own", auto_map=OWN), "auto_map"),
    "auto_map of a known type": (put("config.json", auto_map=OWN), "auto_map"),
    "auto_map of the tokenizer": (
        put("tokenizer_config.json", auto_map={"AutoTokenizer": ["code.Own", None]}),
        "tokenizer_config.json: key 'auto_map'",
    ),
    "auto_map of the processor": (
        put("processor_config.json", auto_map={"AutoProcessor": "hub/x--code.Own"}),
        "processor_config.json",
    ),
    "auto_map of the pictures": (
        put("preprocessor_config.json", auto_map={"AutoImageProcessor": "code.Own"}),
        "preprocessor_config.json",
    ),
    "auto_map in a nested config": (
        put("config.json", vision_config={"auto_map": OWN}),
        "vision_config.auto_map",
    ),
    "internal attention": (
        put("config.json", _attn_implementation_internal="evil/kernel"),
        "_attn_implementation_internal",
    ),
    "internal attention of the text part": (
        put("config.json", text_config={"a": [{"_attn_implementation_internal": "e/k"}]}),
        "text_config.a._attn_implementation_internal",
    ),
    "internal experts": (
        put("config.json", _experts_implementation_internal="evil/kernel"),
        "_experts_implementation_internal",
    ),
    "attention from a hub": (put("config.json", _attn_implementation=HUB), "_attn_implementation"),
    "attention from a hub, public key": (
        put("config.json", attn_implementation={"text_config": "evil/kernel:f"}),
        "attn_implementation",
    ),
    "flash attention, which would be fetched": (
        put("config.json", attn_implementation="flash_attention_9/x"),
        "attn_implementation",
    ),
    "use_kernels": (put("config.json", use_kernels=True), "use_kernels"),
    "kernel_config": (put("config.json", kernel_config={"RMSNorm": "evil/k"}), "kernel_config"),
    "trust_remote_code": (put("config.json", trust_remote_code=True), "trust_remote_code"),
    "trust_remote_code when generating": (
        put("generation_config.json", trust_remote_code=True),
        "generation_config.json",
    ),
    "custom_generate": (
        put("generation_config.json", custom_generate="hub/evil"),
        "custom_generate",
    ),
    "weights elsewhere": (
        put("config.json", transformers_weights="../x.safetensors"),
        "transformers_weights",
    ),
    "shards elsewhere": (
        put("model.safetensors.index.json", weight_map={"a": "../../x.safetensors"}),
        "weight_map",
    ),
    "shards that are pickles": (
        put("model.safetensors.index.json", weight_map={"a": "model.pt"}),
        "weight_map",
    ),
    "code": (write("modeling_own.py"), "modeling_own.py"),
    "code in a folder": (write("custom_generate/generate.py"), "generate.py"),
    "a compiled module": (write("fast.so"), "fast.so"),
    "a pickle beside safetensors": (write("pytorch_model.bin", b"\x80\x04."), "pytorch_model.bin"),
    "a pickle and no safetensors": (only_pickle, "pytorch_model.bin"),
    "a trainer's arguments": (write("training_args.bin"), "training_args.bin"),
    "an optimiser": (write("optimizer.pt"), "optimizer.pt"),
    "a pickle of another name": (write("scaler.pkl"), "scaler.pkl"),
    "a link out of the folder": (linked("notes.txt", "/etc/hostname"), "link out"),
    "weights linked from elsewhere": (
        linked("model.safetensors", "../../elsewhere/model.safetensors"),
        "model.safetensors is a link out",
    ),
    "a linked folder": (linked("more", "/etc"), "link out"),
    "a link to nothing": (linked("a.json", "b.json"), "link to nothing"),
    "huge settings": (write("config.json", b" " * ((64 << 20) + 1)), "no settings file is over"),
    "deep settings": (write("config.json", b"[" * 200_000), "is not JSON"),
    "settings that are no JSON": (write("tokenizer_config.json", b"\xff\xfe{"), "is not JSON"),
    "an adapter in place of a model": (
        put("adapter_config.json", base_model_name_or_path="/elsewhere"),
        "is an adapter",
    ),
}


@pytest.mark.parametrize("name", CRAFTED)
def test_a_crafted_folder_is_refused_by_name_and_nothing_in_it_is_run(llama, tmp_path, name):
    spoil, said = CRAFTED[name]
    folder = tmp_path / "model"
    shutil.copytree(llama, folder)
    spoil(folder)
    HEARD.clear()
    LISTENING[0] = True
    try:
        with pytest.raises(UserError) as refused:
            weights.load(str(folder), OPTIONS)
    finally:
        LISTENING[0] = False
    assert said in str(refused.value)
    assert refused.value.mend
    assert {event for event, _ in HEARD} <= {"open"}
    opened = [path for event, path in HEARD if event == "open" and str(folder) in path]
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
