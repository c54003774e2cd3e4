"""Two processes on a CPU (gloo) train what one with twice the batch trains, and stop together."""

import json

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("peft", reason="peft is not installed")

import torch

from gen_msa import manifest
from gen_msa.types import Aspect, Example, Opinion, Polarity, Post
from tests.finetuning.run_recipes import (
    ROOT,
    build_recipe,
    read_log,
    run_process,
    save_tiny_model,
    write_recipe,
)
from tests.fixtures.posts import post

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="no gloo here"),
]
TINY = {"source": "tiny", "prompt": "predict/brief"}
TWO_EPOCHS = {"max_steps": -1, "num_train_epochs": 2}


def recipes_by_name(folder):
    """Return by name the recipe for one process, and what changes for two."""
    llama, llava = save_tiny_model(folder / "llama"), save_tiny_model(folder / "llava", "llava")
    dev_options = {"dev": [{**TINY, "limit": 2}], "eval_steps": 2}
    half = {"per_device_train_batch_size": 1}
    image_data = {"data": [{**TINY, "limit": 5}, {**TINY, "limit": 6, "images": False}]}
    trained_parts = {
        "train_projector": True,
        "train_vision": True,
        "projector_learning_rate": 0.001,
    }
    return {
        "uneven": (build_recipe(llama, folder, limit=7, **TWO_EPOCHS, **dev_options), half),
        "images": (build_recipe(llava, folder, **image_data, **trained_parts, max_steps=6), half),
        "accumulated": (
            build_recipe(
                llava,
                folder,
                **image_data,
                **trained_parts,
                max_steps=3,
                per_device_train_batch_size=4,
            ),
            {**half, "gradient_accumulation_steps": 2},
        ),
        "dropout": (build_recipe(llama, folder, limit=8, lora_dropout=0.3, **TWO_EPOCHS), half),
    }


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Summaries of each recipe by (number of processes, rank), and the folder of all runs."""
    folder = tmp_path_factory.mktemp("ddp")
    names = list(recipes_by_name(folder))
    results = {}
    for count in (1, 2):
        out_dir = folder / str(count)
        out_dir.mkdir()
        files = []
        for name, (base_recipe, overrides) in recipes_by_name(folder).items():
            if (count, name) == (1, "dropout"):  # each process draws its own
                continue
            changes = overrides if count == 2 else {}
            run_recipe = base_recipe.model_copy(
                update={"output_dir": str(out_dir / name), **changes}
            )
            files.append(write_recipe(run_recipe, out_dir / f"{name}.yaml"))
        resumed = [f"{files[-1]}@2"] if count == 2 else []
        process = run_process(
            "-m", "tests.finetuning.run_recipes", out_dir, *files, *resumed, processes=count
        )
        assert process.returncode == 0, process.stderr[-4000:]
        for rank in range(count):
            summaries = json.loads((out_dir / f"summary-{rank}.json").read_text())
            result_names = [*names, "resumed"] if count == 2 else names[:-1]
            results[count, rank] = dict(zip(result_names, summaries, strict=True))
    return results, folder


def test_two_processes_join_one_group(runs):
    results, _ = runs
    assert {(w["processes"], w["backend"]) for r in (0, 1) for w in results[2, r].values()} == {
        (2, "MULTI_CPU")
    }
    assert {w["processes"] for w in results[1, 0].values()} == {1}


@pytest.mark.parametrize("name", ["uneven", "images", "accumulated"])
def test_two_processes_match_one_with_twice_the_batch(runs, name):
    single, main, other = runs[0][1, 0][name], runs[0][2, 0][name], runs[0][2, 1][name]
    assert len(single["curve"]) == len(main["curve"]) >= 3
    for single_row, pair_row in zip(single["curve"], main["curve"], strict=True):
        assert pair_row[0] == single_row[0]
        assert pair_row[1:] == pytest.approx(single_row[1:], rel=1e-5)
    assert main["weights"] == other["weights"]
    assert main["rows"] == other["rows"] == single["rows"]
    assert main["best"] == other["best"] == single["best"]


def test_uneven_last_step_loses_no_row_and_does_not_hang(runs):
    main, other = runs[0][2, 0]["uneven"], runs[0][2, 1]["uneven"]
    assert main["posts"] % 2 == 1
    assert (main["empty"], other["empty"]) == (0, 2)
    assert len(main["curve"]) == 2 * -(-main["posts"] // 2)


def test_ranks_can_differ_in_having_images(runs):
    main, other = runs[0][2, 0]["images"], runs[0][2, 1]["images"]
    mixed = [a != b for a, b in zip(main["has_images"], other["has_images"], strict=True)]
    assert any(mixed)


def test_resumed_run_is_bit_identical(runs):
    uninterrupted, resumed = runs[0][2, 0]["dropout"], runs[0][2, 0]["resumed"]
    assert (uninterrupted["first_step"], resumed["first_step"]) == (0, 2)
    assert resumed["curve"] == uninterrupted["curve"]
    assert resumed["weights"] == uninterrupted["weights"] == runs[0][2, 1]["resumed"]["weights"]


def test_only_the_main_process_writes(runs):
    _, folder = runs
    out = folder / "2/uneven"
    steps = read_log(out, "step")
    assert steps == sorted(set(steps))
    assert manifest.is_intact(out / "adapter")
    assert [p.name for p in out.iterdir() if "adapter" in p.name] == ["adapter"]
    assert not list(out.glob(".*"))


def test_nan_on_one_rank_stops_both_and_names_the_rows(tmp_path):
    model = save_tiny_model(tmp_path / "llama")
    _set_nan_embedding(model, "~")
    posts = [post(i) for i in range(8)]
    posts[5] = Post(id="odd", text="a ~", aspects=(Aspect(term="a", start=0),))
    file = tmp_path / "posts.jsonl"
    opinions = [
        Opinion(annotator="gold", aspect=p.aspects[0], polarity=Polarity.NEUTRAL) for p in posts
    ]
    file.write_text(
        "".join(
            Example(post=p, opinions=(o,)).model_dump_json() + "\n"
            for p, o in zip(posts, opinions, strict=True)
        )
    )
    out = tmp_path / "out"
    run_recipe = build_recipe(
        model, out, data=[{"source": str(file), "prompt": "predict/brief"}],
        per_device_train_batch_size=1, **TWO_EPOCHS,
    )  # fmt: skip
    process = run_process(
        ROOT / "finetune/lora.py",
        "--recipe",
        write_recipe(run_recipe, tmp_path / "nan.yaml"),
        processes=2,
    )
    messages = [line for line in process.stderr.splitlines() if "not a finite number" in line]
    assert len(messages) == 2
    assert {line[: len("gen-msa (process 0)")] for line in messages} == {
        "gen-msa (process 0)",
        "gen-msa (process 1)",
    }
    assert sum(f"{file}/odd/a" in line for line in messages) == 1
    assert sum("those of another process" in line for line in messages) == 1
    assert process.stderr.count("exitcode  : 4") >= 1
    assert "exitcode  : 1 " not in process.stderr
    n_logged = len(read_log(out, "step")) if (out / "log.jsonl").exists() else 0
    complete = [p for p in out.glob("checkpoint-*") if manifest.is_intact(p)]
    assert len(complete) == n_logged < 4


def _set_nan_embedding(model, character):
    """Set the base model's embedding of one character to NaN."""
    from safetensors.torch import load_file, save_file
    from transformers import AutoTokenizer

    ids = AutoTokenizer.from_pretrained(model)(character, add_special_tokens=False)["input_ids"]
    assert len(ids) == 1
    path = model / "model.safetensors"
    tensors = load_file(path)
    tensors["model.embed_tokens.weight"][ids[0]] = float("nan")
    save_file(tensors, path, metadata={"format": "pt"})
