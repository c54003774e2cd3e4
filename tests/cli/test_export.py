"""`gen-msa export` of a student: an ONNX graph that `explain` can use, and invalid options."""

import json

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra onnx)")
pytest.importorskip("onnxscript", reason="onnxscript is not installed (extra onnx)")

from gen_msa import manifest
from gen_msa.models.inference import serialization
from tests.fixtures.posts import post, write_posts
from tests.fixtures.tiny_students import make_collator, make_student


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli") / "s"
    with manifest.atomic_directory(folder) as draft:
        serialization.save_student(
            draft, make_student(), make_collator(max_length=40), text="post", name="text"
        )
    return folder


def test_onnx_export_is_written_beside_student_and_explains(gen_msa, folder, tmp_path):
    completed = gen_msa("export", folder, "--onnx", "--int8", "--posts", "")
    assert completed.code == 0, completed.err
    assert "student's label" in completed.out
    target = folder.with_name("s-int8")
    assert json.loads((target / "onnx.json").read_bytes())["precision"] == "int8"
    posts = write_posts(tmp_path / "posts.jsonl", [post(1)])
    completed = gen_msa("explain", posts, "-m", f"student:{target}")
    assert completed.code == 0, completed.err
    opinions = json.loads(completed.out.splitlines()[0])["opinions"]
    assert {o["provenance"]["engine"] for o in opinions} == {"onnx int8"}
    assert {o["provenance"]["explanation_source"] for o in opinions} == {"template"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "no export format for the student"),
        (["--int8"], "no export format for the student"),
        (["--merge"], "has no base and no adapter"),
        (["--onnx", "--base", "x"], "has no base and no adapter"),
    ],
)
def test_invalid_export_options_are_rejected(gen_msa, folder, options, message):
    completed = gen_msa("export", folder, *options)
    assert (completed.code, message in completed.err) == (2, True)


def test_folder_without_a_student_is_rejected(gen_msa, tmp_path):
    completed = gen_msa("export", tmp_path, "--onnx")
    assert (completed.code, "has no student" in completed.err) == (2, True)
