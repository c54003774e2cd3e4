"""The wheel, installed outside the checkout, lists what ships and explains with `echo`."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import gen_msa

ROOT = Path(gen_msa.__file__).parent.parent


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with nothing but the installed wheel."""
    dist_folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(dist_folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    target = tmp_path_factory.mktemp("site")
    (wheel,) = dist_folder.glob("*.whl")
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(target)]
    subprocess.run([*pip, str(wheel)], check=True, capture_output=True)
    return target


def run_installed(site: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    code = (
        "import sys, gen_msa; from gen_msa.cli import main; "
        f"assert gen_msa.__file__.startswith({str(site)!r}), gen_msa.__file__; main()"
    )
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=site.parent,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=True,
    )


def test_site_packages_gain_only_gen_msa(site: Path) -> None:
    names = {p.name for p in site.iterdir()}
    assert {n for n in names if not n.endswith(".dist-info")} == {"gen_msa", "bin"}


def test_ls_lists_prompts_and_datasets(site: Path) -> None:
    output = run_installed(site, "ls").stdout
    assert "predict/full" in output
    assert "twitter2015" in output
    assert "tiny_cpu" in output
    assert "fsdp2" in output
    assert "explanation_classifier" in output


def test_wheel_contains_every_recipe_config_and_launcher(site: Path) -> None:
    inside, outside = site / "gen_msa" / "_resources" / "finetune", ROOT / "finetune"
    wheel_files, repository_files = (
        {
            p.relative_to(folder).as_posix()
            for kind in ("*.yaml", "*.py")
            for p in folder.rglob(kind)
        }
        for folder in (inside, outside)
    )
    assert wheel_files == repository_files
    assert {"lora.py", "lora/tiny_cpu.yaml", "accelerate/fsdp2.yaml"} <= wheel_files
    assert {"distill.py", "distill/text.yaml", "distill/explanation_classifier.yaml"} <= wheel_files


def test_recipe_can_be_shown_copied_and_validated(site: Path, tmp_path: Path) -> None:
    target = tmp_path / "mine.yaml"
    run_installed(site, "cp", "tiny_cpu", str(target))
    assert target.read_text("utf-8") == run_installed(site, "show", "finetune/lora/tiny_cpu").stdout
    code = "from gen_msa.finetuning import recipe; print(recipe.load_recipe('tiny_cpu').lora_rank)"
    env = {**os.environ, "PYTHONPATH": str(site)}
    completed = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, check=True
    )
    assert completed.stdout.strip() == b"8"


def test_student_recipe_can_be_shown(site: Path) -> None:
    assert run_installed(site, "show", "explanation_classifier").stdout.startswith("#")
    assert (
        "mask_labels: true"
        in run_installed(site, "show", "finetune/distill/explanation_classifier").stdout
    )


def test_explain_predicts_the_tiny_posts_with_echo(site: Path, tmp_path: Path) -> None:
    out = tmp_path / "opinions.jsonl"
    run_installed(site, "explain", "tiny", "--model", "echo", "-o", str(out))
    rows = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    assert len(rows) >= 38
    assert all(any(o["annotator"] == "echo" for o in row["opinions"]) for row in rows)
