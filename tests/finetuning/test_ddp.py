"""Two processes on a CPU (gloo) learn what one with twice the batch learns, and stop together."""

import json

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("peft", reason="peft is not installed")

import torch

from gen_msa import manifest
from gen_msa.types import Aspect, Example, Opinion, Polarity, Post
from tests.finetuning.running import ROOT, base, log, recipe, start, written
from tests.fixtures.posts import post

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="no gloo here"),
]
TINY = {"source": "tiny", "prompt": "reader/brief"}
EPOCHS = {"max_steps": -1, "num_train_epochs": 2}


def recipes(folder):
    """By name: the recipe for one process, and what two are given instead."""
    llama, llava = base(folder / "llama"), base(folder / "llava", "llava")
    dev = {"dev": [{**TINY, "limit": 2}], "eval_steps": 2}
    half = {"per_device_train_batch_size": 1}
    seen = {"data": [{**TINY, "limit": 5}, {**TINY, "limit": 6, "pictures": False}]}
    parts = {"train_projector": True, "train_vision": True, "projector_learning_rate": 0.001}
    return {
        "uneven": (recipe(llama, folder, limit=7, **EPOCHS, **dev), half),
        "pictures": (recipe(llava, folder, **seen, **parts, max_steps=6), half),
        "accumulated": (
            recipe(llava, folder, **seen, **parts, max_steps=3, per_device_train_batch_size=4),
            {**half, "gradient_accumulation_steps": 2},
        ),
        "dropout": (recipe(llama, folder, limit=8, lora_dropout=0.3, **EPOCHS), half),
    }


@pytest.fixture(scope="module")
def saw(tmp_path_factory):
    """What each recipe's processes saw: alone, and both of two; and the folder of it all."""
    folder = tmp_path_factory.mktemp("ddp")
    names = list(recipes(folder))
    found = {}
    for count in (1, 2):
        place = folder / str(count)
        place.mkdir()
        files = []
        for name, (said, instead) in recipes(folder).items():
            if (count, name) == (1, "dropout"):  # each process draws its own
                continue
            more = instead if count == 2 else {}
            given = said.model_copy(update={"output_dir": str(place / name), **more})
            files.append(written(given, place / f"{name}.yaml"))
        again = [f"{files[-1]}@2"] if count == 2 else []
        ran = start("-m", "tests.finetuning.running", place, *files, *again, processes=count)
        assert ran.returncode == 0, ran.stderr[-4000:]
        for rank in range(count):
            seen = json.loads((place / f"saw-{rank}.json").read_text())
            order = [*names, "gone on"] if count == 2 else names[:-1]
            found[count, rank] = dict(zip(order, seen, strict=True))
    return found, folder


def test_two_processes_really_meet(saw):
    found, _ = saw
    assert {(w["processes"], w["kind"]) for r in (0, 1) for w in found[2, r].values()} == {
        (2, "MULTI_CPU")
    }
    assert {w["processes"] for w in found[1, 0].values()} == {1}


@pytest.mark.parametrize("name", ["uneven", "pictures", "accumulated"])
def test_they_learn_what_one_process_with_twice_the_batch_learns(saw, name):
    alone, main, other = saw[0][1, 0][name], saw[0][2, 0][name], saw[0][2, 1][name]
    assert len(alone["curve"]) == len(main["curve"]) >= 3
    for one, both in zip(alone["curve"], main["curve"], strict=True):
        assert both[0] == one[0]
        assert both[1:] == pytest.approx(one[1:], rel=1e-5)
    assert main["weights"] == other["weights"]
    assert main["rows"] == other["rows"] == alone["rows"]
    assert main["best"] == other["best"] == alone["best"]


def test_an_uneven_last_step_loses_no_row_and_waits_for_no_one(saw):
    main, other = saw[0][2, 0]["uneven"], saw[0][2, 1]["uneven"]
    assert main["posts"] % 2 == 1
    assert (main["empty"], other["empty"]) == (0, 2)
    assert len(main["curve"]) == 2 * -(-main["posts"] // 2)


def test_one_process_had_a_picture_where_the_other_had_none(saw):
    main, other = saw[0][2, 0]["pictures"], saw[0][2, 1]["pictures"]
    mixed = [a != b for a, b in zip(main["pictured"], other["pictured"], strict=True)]
    assert any(mixed)


def test_going_on_together_is_bit_for_bit_not_having_stopped(saw):
    whole, again = saw[0][2, 0]["dropout"], saw[0][2, 0]["gone on"]
    assert (whole["began"], again["began"]) == (0, 2)
    assert again["curve"] == whole["curve"]
    assert again["weights"] == whole["weights"] == saw[0][2, 1]["gone on"]["weights"]


def test_only_one_process_writes(saw):
    _, folder = saw
    out = folder / "2/uneven"
    steps = log(out, "step")
    assert steps == sorted(set(steps))
    assert manifest.whole(out / "adapter")
    assert [p.name for p in out.iterdir() if "adapter" in p.name] == ["adapter"]
    assert not list(out.glob(".*"))


def test_a_number_that_is_none_in_one_process_stops_both_with_its_rows_named(tmp_path):
    model = base(tmp_path / "llama")
    _spoil(model, "~")
    posts = [post(i) for i in range(8)]
    posts[5] = Post(id="odd", text="a ~", aspects=(Aspect(term="a", start=0),))
    file = tmp_path / "posts.jsonl"
    said = [Opinion(by="gold", aspect=p.aspects[0], polarity=Polarity.NEUTRAL) for p in posts]
    file.write_text(
        "".join(
            Example(post=p, opinions=(o,)).model_dump_json() + "\n"
            for p, o in zip(posts, said, strict=True)
        )
    )
    out = tmp_path / "out"
    given = recipe(
        model, out, data=[{"source": str(file), "prompt": "reader/brief"}],
        per_device_train_batch_size=1, **EPOCHS,
    )  # fmt: skip
    ran = start(
        ROOT / "finetune/lora.py", "--recipe", written(given, tmp_path / "nan.yaml"), processes=2
    )
    words = [line for line in ran.stderr.splitlines() if "not a finite number" in line]
    assert len(words) == 2
    assert {line[: len("gen-msa (process 0)")] for line in words} == {
        "gen-msa (process 0)",
        "gen-msa (process 1)",
    }
    assert sum(f"{file}/odd/a" in line for line in words) == 1
    assert sum("those of another process" in line for line in words) == 1
    assert ran.stderr.count("exitcode  : 4") >= 1
    assert "exitcode  : 1 " not in ran.stderr
    done = len(log(out, "step")) if (out / "log.jsonl").exists() else 0
    whole = [p for p in out.glob("checkpoint-*") if manifest.whole(p)]
    assert len(whole) == done < 4


def _spoil(model, character):
    """Makes the base model's embedding of one character NaN."""
    from safetensors.torch import load_file, save_file
    from transformers import AutoTokenizer

    ids = AutoTokenizer.from_pretrained(model)(character, add_special_tokens=False)["input_ids"]
    assert len(ids) == 1
    path = model / "model.safetensors"
    tensors = load_file(path)
    tensors["model.embed_tokens.weight"][ids[0]] = float("nan")
    save_file(tensors, path, metadata={"format": "pt"})
