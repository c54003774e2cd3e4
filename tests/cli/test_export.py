"""`gen-msa export` of a student: a graph beside it that `explain` reads, and what is refused."""

import json

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra onnx)")
pytest.importorskip("onnxscript", reason="onnxscript is not installed (extra onnx)")

from gen_msa import manifest
from gen_msa.students.common import keeping
from tests.fixtures.posts import post, write_posts
from tests.fixtures.tiny_students import student, words


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli") / "s"
    with manifest.staged(folder) as draft:
        keeping.write(draft, student(), words(max_length=40), text="post", name="text")
    return folder


def test_a_graph_is_written_beside_the_student_and_explains(gen_msa, folder, tmp_path):
    ran = gen_msa("export", folder, "--onnx", "--int8", "--posts", "")
    assert ran.code == 0, ran.err
    assert "student's label" in ran.out
    target = folder.with_name("s-int8")
    assert json.loads((target / "onnx.json").read_bytes())["precision"] == "int8"
    posts = write_posts(tmp_path / "posts.jsonl", [post(1)])
    ran = gen_msa("explain", posts, "-r", f"student:{target}")
    assert ran.code == 0, ran.err
    said = json.loads(ran.out.splitlines()[0])["opinions"]
    assert {o["how"]["engine"] for o in said} == {"onnx int8"}
    assert {o["how"]["explanation_source"] for o in said} == {"template"}


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ([], "say as what to export the student"),
        (["--int8"], "say as what to export the student"),
        (["--merge"], "has no base and no adapter"),
        (["--onnx", "--base", "x"], "has no base and no adapter"),
    ],
)
def test_what_makes_no_sense_for_a_student_is_said(gen_msa, folder, options, why):
    ran = gen_msa("export", folder, *options)
    assert (ran.code, why in ran.err) == (2, True)


def test_a_folder_without_a_student_is_said(gen_msa, tmp_path):
    ran = gen_msa("export", tmp_path, "--onnx")
    assert (ran.code, "holds no student" in ran.err) == (2, True)
