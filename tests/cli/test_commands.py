"""The other commands: ls, show, cp, preview, convert, doctor, demo."""

import json
import subprocess
import sys

import pytest

from gen_msa import __version__, resources
from tests.fixtures.posts import post, write_posts


def test_version_and_help(gen_msa):
    assert gen_msa("--version").out.strip() == __version__
    for command in (
        "explain",
        "preview",
        "convert",
        "finetune",
        "ls",
        "show",
        "cp",
        "doctor",
        "demo",
    ):
        assert gen_msa(command, "--help").code == 0


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("prompts", "predict/full"),
        ("recipes", "tiny_cpu"),
        ("accelerate", "fsdp2"),
        ("datasets", "twitter2015"),
        ("formats", "tombert_tsv"),
        ("models", "builtin"),
        ("students", "text"),
        ("filters", "length"),
        ("probes", "aspect_swap"),
        ("metrics", "labels"),
        ("cues", "syntax"),
    ],
)
def test_ls_lists_each_kind(gen_msa, kind, name):
    assert name in gen_msa("ls", kind).out
    assert name in gen_msa("ls").out
    assert gen_msa("show", name).code == 0


def test_show_and_cp_of_a_prompt(gen_msa, tmp_path):
    text = resources.find_resource("prompts", "predict/full", ".jinja").read_text("utf-8")
    assert gen_msa("show", "predict/full").out == text
    target = tmp_path / "mine.jinja"
    assert gen_msa("cp", "predict/full", target).code == 0
    assert target.read_text("utf-8") == text
    assert "exists already" in gen_msa("cp", "predict/full", target).err
    completed = gen_msa("explain", "--text", "Nice soup", "-m", "echo", "--prompt", target)
    assert completed.code == 0


@pytest.mark.parametrize("name", ["tiny_cpu", "finetune/lora/tiny_cpu", "fsdp2"])
def test_show_and_cp_of_a_recipe_by_either_name(gen_msa, tmp_path, name):
    folder = "finetune/accelerate" if name == "fsdp2" else "finetune/lora"
    path = resources.resource_folder(folder) / f"{name.rpartition('/')[2]}.yaml"
    text = path.read_text("utf-8")
    assert gen_msa("show", name).out == text
    target = tmp_path / "mine.yaml"
    completed = gen_msa("cp", name, target)
    assert target.read_text("utf-8") == text
    assert "finetune" in completed.out or "accelerate launch" in completed.out


def test_cp_of_unknown_name_suggests_the_nearest(gen_msa, tmp_path):
    completed = gen_msa("cp", "tiny_cpi", tmp_path / "x.yaml")
    assert completed.code == 2
    assert "did you mean 'tiny_cpu'" in completed.err


def test_preview_prints_cue_prompt_and_token_count(gen_msa):
    completed = gen_msa("preview", "tiny", "-m", "echo", "-n", "2")
    assert completed.code == 0
    assert "cue syntax" in completed.out
    assert "tokens" in completed.out
    assert "What is the sentiment" in completed.out


def test_convert_round_trip_keeps_examples(gen_msa, tmp_path):
    path = write_posts(tmp_path / "posts.jsonl", map(post, range(5)))
    assert gen_msa("convert", path, tmp_path / "posts.parquet").code == 0
    assert gen_msa("convert", tmp_path / "posts.parquet", tmp_path / "again.jsonl").code == 0
    first, round_tripped = (
        json.loads(p.read_text("utf-8").splitlines()[0]) for p in (path, tmp_path / "again.jsonl")
    )
    assert first == round_tripped


def test_doctor_lists_what_can_run(gen_msa):
    completed = gen_msa("doctor")
    assert completed.code == 0
    for fragment in ("python", "memory", "models", "echo", "GEN_MSA_DATA"):
        assert fragment in completed.out


def test_demo_writes_opinions_and_a_report(gen_msa, tmp_path):
    assert gen_msa("demo", "--out", tmp_path, "--model", "echo").code == 0
    assert (tmp_path / "report.html").stat().st_size > 100_000
    assert len((tmp_path / "opinions.jsonl").read_bytes().splitlines()) >= 38


def test_output_piped_into_head_is_no_error(tmp_path):
    path = write_posts(tmp_path / "posts.jsonl", map(post, range(3_000)))
    command = f"{sys.executable} -m gen_msa explain {path} -m echo | head -n 1"
    completed = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert json.loads(completed.stdout)["post"]["id"] == "p0"
    assert "Traceback" not in completed.stderr
