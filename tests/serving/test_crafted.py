"""Fault 11: a crafted model's folder is refused wherever it is given, and nothing in it is run."""

import shutil
from contextlib import suppress
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")
pytest.importorskip("fastapi", reason="fastapi is not installed")

from gen_msa import manifest
from gen_msa.annotating import JobSettings, annotate
from gen_msa.data import open_source
from gen_msa.errors import UserError
from gen_msa.serving.logs import Log
from gen_msa.serving.running import Running
from gen_msa.serving.settings import ServeSettings
from gen_msa.serving.vllm import VllmSettings
from gen_msa.serving.vllm.finding import find
from gen_msa.settings import load
from gen_msa.students.common import keeping
from tests.fixtures.crafted import CRAFTED, listening, put, saved, write
from tests.fixtures.posts import post, write_posts
from tests.fixtures.tiny_students import student, words


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("models") / "llama")


class UntilReady(Log):
    """Ends the service as soon as it could read."""

    running: Running
    ready = False

    def write(self, event, **facts):
        if event == "ready":
            self.ready = True
            self.running.stop()


def serve(reader):
    """`gen-msa serve READER`, until it is ready or has ended by itself; whether it was."""
    settings = load(ServeSettings, overrides=[f"reader={reader}", "port=0", "cues={}"])
    log = UntilReady()
    log.running = Running(settings, "", log=log)
    log.running.run()
    return log.ready


def explain(reader):
    """Whether a post was read."""
    source = open_source(str(write_posts(Path("posts.jsonl"), [post(0)])))
    return annotate(source, Path("out.jsonl"), JobSettings(reader=reader, cues={})).counts.written


def serve_vllm(reader):
    """Whether the folder is one that would be served."""
    folder = reader.partition(":")[2]
    return find(load(VllmSettings, overrides=[f"reader=vllm:{folder}"])).model == Path(folder)


WAYS = {"serve": serve, "explain": explain, "serve vllm": serve_vllm}


@pytest.mark.parametrize("way", WAYS)
def test_the_good_folder_is_let_in(model, tmp_path, monkeypatch, way):
    monkeypatch.chdir(tmp_path)
    assert WAYS[way](f"transformers:{model}")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", CRAFTED)
def test_a_crafted_folder_is_refused_and_not_run(model, tmp_path, monkeypatch, name, way):
    assert len(CRAFTED) >= 20
    spoil, said = CRAFTED[name]
    folder = tmp_path / "model"
    shutil.copytree(model, folder)
    spoil(folder)
    monkeypatch.chdir(tmp_path)
    with listening() as heard, pytest.raises(UserError) as refused:
        WAYS[way](f"transformers:{folder}")
    assert said in str(refused.value)
    assert refused.value.mend
    own = [what for event, what in heard if str(folder) in what or event == "pickle.find_class"]
    assert all(what.endswith(".json") for what in own)
    assert not Path("out.jsonl").exists()


@pytest.mark.parametrize("sealed", [False, True])
@pytest.mark.parametrize(
    "spoil",
    [
        write("modeling.py"),
        write("text.py"),
        write("pytorch_model.bin"),
        put("student.json", auto_map={"AutoModel": "modeling.Own"}),
        put("student.json", student="../modeling"),
        put("student.json", student="modeling"),
        put("student.json", numbers={"__class__": "os.system"}),
        put("tokenizer.json", auto_map={"AutoTokenizer": "modeling.Own"}),
    ],
)
def test_nothing_in_a_students_folder_is_run(tmp_path, monkeypatch, spoil, sealed):
    """Neither as it was sealed nor sealed anew by whoever changed it."""
    folder = tmp_path / "s"
    with manifest.staged(folder) as draft:
        keeping.write(draft, student(), words(), text="post", name="text")
    spoil(folder)
    if sealed:
        (folder / manifest.NAME).unlink()
        manifest.seal(folder)
    monkeypatch.chdir(tmp_path)
    with listening() as heard, suppress(UserError):  # what does no harm is let pass
        explain(f"student:{folder}")
    assert [w for event, w in heard if event == "pickle.find_class"] == []
    ran = [w for event, w in heard if event in ("exec", "import") and str(folder) in w]
    assert ran == []
    opened = [Path(w).suffix for event, w in heard if event == "open" and str(folder) in w]
    assert set(opened) <= {".json", ".safetensors", ".bin", ".py", ""}
