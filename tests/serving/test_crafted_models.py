"""Fault 11: a crafted model's folder is refused wherever it is given, and nothing in it is run."""

import shutil
from contextlib import suppress
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")
pytest.importorskip("fastapi", reason="fastapi is not installed")

from gen_msa import manifest
from gen_msa.annotation import JobSettings, annotate
from gen_msa.data import open_examples
from gen_msa.errors import UserError
from gen_msa.models.inference import serialization
from gen_msa.serving.logs import JsonLog
from gen_msa.serving.server import Server
from gen_msa.serving.settings import ServeSettings
from gen_msa.serving.vllm import VllmSettings
from gen_msa.serving.vllm.command import resolve_model
from gen_msa.settings import load
from tests.fixtures.posts import post, write_posts
from tests.fixtures.tiny_students import make_collator, make_student
from tests.fixtures.unsafe_models import (
    UNSAFE_FOLDERS,
    record_events,
    save_tiny_model,
    update_json,
    write_file,
)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("models") / "llama")


class UntilReady(JsonLog):
    """Ends the service as soon as it could read."""

    running: Server
    ready = False

    def write(self, event, **fields):
        if event == "ready":
            self.ready = True
            self.running.stop()


def serve(model):
    """Run `gen-msa serve MODEL` until it is ready or has ended; return whether it was ready."""
    settings = load(ServeSettings, overrides=[f"model={model}", "port=0", "cues={}"])
    log = UntilReady()
    log.running = Server(settings, "", log=log)
    log.running.run()
    return log.ready


def explain(model):
    """Whether a post was read."""
    source = open_examples(str(write_posts(Path("posts.jsonl"), [post(0)])))
    return annotate(source, Path("out.jsonl"), JobSettings(model=model, cues={})).counts.written


def serve_vllm(model):
    """Whether the folder is one that would be served."""
    folder = model.partition(":")[2]
    return resolve_model(load(VllmSettings, overrides=[f"model=vllm:{folder}"])).model == Path(
        folder
    )


ENTRY_POINTS = {"serve": serve, "explain": explain, "serve vllm": serve_vllm}


@pytest.mark.parametrize("entry_point", ENTRY_POINTS)
def test_intact_model_folder_is_accepted(model, tmp_path, monkeypatch, entry_point):
    monkeypatch.chdir(tmp_path)
    assert ENTRY_POINTS[entry_point](f"transformers:{model}")


@pytest.mark.parametrize("entry_point", ENTRY_POINTS)
@pytest.mark.parametrize("name", UNSAFE_FOLDERS)
def test_crafted_model_folder_is_refused_without_running_code(
    model, tmp_path, monkeypatch, name, entry_point
):
    assert len(UNSAFE_FOLDERS) >= 20
    corrupt, message = UNSAFE_FOLDERS[name]
    folder = tmp_path / "model"
    shutil.copytree(model, folder)
    corrupt(folder)
    monkeypatch.chdir(tmp_path)
    with record_events() as events, pytest.raises(UserError) as error:
        ENTRY_POINTS[entry_point](f"transformers:{folder}")
    assert message in str(error.value)
    assert error.value.hint
    accessed = [
        detail for event, detail in events if str(folder) in detail or event == "pickle.find_class"
    ]
    assert all(detail.endswith(".json") for detail in accessed)
    assert not Path("out.jsonl").exists()


@pytest.mark.parametrize("sealed", [False, True])
@pytest.mark.parametrize(
    "corrupt",
    [
        write_file("modeling.py"),
        write_file("text.py"),
        write_file("pytorch_model.bin"),
        update_json("student.json", auto_map={"AutoModel": "modeling.Own"}),
        update_json("student.json", student="../modeling"),
        update_json("student.json", student="modeling"),
        update_json("student.json", numbers={"__class__": "os.system"}),
        update_json("tokenizer.json", auto_map={"AutoTokenizer": "modeling.Own"}),
    ],
)
def test_code_in_student_folder_is_never_run(tmp_path, monkeypatch, corrupt, sealed):
    """Neither as it was sealed nor sealed anew by whoever changed it."""
    folder = tmp_path / "s"
    with manifest.atomic_directory(folder) as staging:
        serialization.save_student(
            staging, make_student(), make_collator(), text="post", name="text"
        )
    corrupt(folder)
    if sealed:
        (folder / manifest.MANIFEST_NAME).unlink()
        manifest.seal(folder)
    monkeypatch.chdir(tmp_path)
    with record_events() as events, suppress(UserError):  # what does no harm is let pass
        explain(f"student:{folder}")
    assert [detail for event, detail in events if event == "pickle.find_class"] == []
    executed = [
        detail for event, detail in events if event in ("exec", "import") and str(folder) in detail
    ]
    assert executed == []
    suffixes = [
        Path(detail).suffix for event, detail in events if event == "open" and str(folder) in detail
    ]
    assert set(suffixes) <= {".json", ".safetensors", ".bin", ".py", ""}
