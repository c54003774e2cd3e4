"""Model cards: all that a figure is printed with, nothing of this machine, whole or not at all."""

import json
import resource
import signal

import pytest
from huggingface_hub import ModelCard

from gen_msa.errors import UserError
from gen_msa.finetuning import card
from gen_msa.finetuning.card import Facts, Learned
from gen_msa.finetuning.judgement import Explained, Judged, Judgement
from gen_msa.finetuning.recipe import Data, Recipe
from gen_msa.metrics.labels import score
from gen_msa.types import Polarity

NEG, NEU, POS = Polarity


def judgement(**changes):
    scores = score([NEG, POS, NEU, POS], [NEG, POS, None, NEG])
    explained = Explained(n=4, read=3, of_aspect=3, named=3, quoting=2, quotes=8, verbatim=7)
    facts = {
        "source": "mams:dev",
        "prompt": "reader/full@1a2b3c4d",
        "data_sha256": "f" * 64,
        "posts": 2,
        "rejected": 0,
        "refused": 0,
        "reasked": 0,
        "scores": scores,
        "explained": explained,
    }
    return Judgement((Judged(**{**facts, **changes}),), seed=3, step=120, revision="step-120")


def facts(tmp_path, **changes):
    recipe = Recipe(
        model_name_or_path=str(tmp_path / "models" / "smol"),
        output_dir=str(tmp_path / "my-run"),
        data=(Data(source="mams:train"), Data(source=str(tmp_path / "my|posts.jsonl"))),
        seed=3,
        levers={"feature_cache": str(tmp_path / "cache")},
    )
    learned = (
        Learned("mams:train", "reader/full@1a2b3c4d", "gold", "cue", 1000, 2600, 4),
        Learned(str(tmp_path / "my|posts.jsonl"), "reader/full@1a2b3c4d", "gold", "", 10, 10),
    )
    told = {
        "recipe": recipe,
        "base": str(tmp_path / "models" / "smol"),
        "base_hash": "0123456789abcdef",
        "learned": learned,
        "figures": judgement().as_json(),
        "step": 120,
        "parameters": 460_800,
    }
    return Facts(**{**told, **changes})


def test_the_front_matter_is_read_back_by_the_hub_library(tmp_path):
    found = ModelCard(card.card(facts(tmp_path, base="owner/smol", license="mit"))).data
    assert found.base_model == "owner/smol"
    assert found.library_name == "peft"
    assert found.license == "mit"
    assert {"gen_msa", "lora"} <= set(found.tags)
    assert found.model_name == "my-run"
    results = {(r.dataset_name, r.metric_type): r.metric_value for r in found.eval_results}
    assert results == {
        ("mams:dev", "accuracy"): 0.5,
        ("mams:dev", "f1"): pytest.approx(score_of().macro_f1, abs=1e-4),
    }


def score_of():
    return judgement().sources[0].scores


def test_each_figure_stands_with_n_seed_interval_prompt_and_data_hash(tmp_path):
    text = card.card(facts(tmp_path))
    (row,) = (line for line in text.splitlines() if line.startswith("| mams:dev"))
    cells = [c.strip() for c in row.strip("|").split("|")]
    assert cells == [
        *("mams:dev", "4", "75.0", "50.0 [15.0, 85.0]", "44.4", "75.0", "100.0", "87.5"),
        *("reader/full@1a2b3c4d", "ffffffffffff"),
    ]
    assert "step 120" in text
    assert "seed 3" in text


def test_it_says_how_to_read_with_it_and_what_it_does_not_know(tmp_path):
    here = card.card(facts(tmp_path))
    assert "--reader transformers:BASE@DIR" in here
    assert "`BASE` the folder of `smol`" in here
    assert "--reader transformers:owner/smol@DIR" in card.card(facts(tmp_path, base="owner/smol"))
    assert "--reader builtin:DIR" in card.card(facts(tmp_path, base="builtin"))
    assert "they flatter it" in here
    assert "Its reasons imitate" in here
    assert "| mams:train | 1,000 | 2,600 | 4 | gold | cue | reader/full@1a2b3c4d |" in here


def test_without_dev_figures_it_says_so(tmp_path):
    text = card.card(facts(tmp_path, figures=None))
    assert "there was no dev source" in text
    assert "flatter" not in text
    assert "model-index" not in text


def test_joint_figures_and_absent_ones_are_printed(tmp_path):
    figures = judgement(joint_f1=0.5, explained=None).as_json()
    text = card.card(facts(tmp_path, figures=figures))
    assert "found and judged together in mams:dev: F1 50.0" in text
    assert "| – | – | – |" in text


def test_no_path_of_this_machine_is_told(tmp_path):
    figures = judgement(source=str(tmp_path / "dev.jsonl")).as_json()
    told = facts(tmp_path, figures=figures)
    card.write(tmp_path / "adapter", told)
    for name in ("README.md", "figures.json"):
        text = (tmp_path / "adapter" / name).read_text("utf-8")
        assert str(tmp_path) not in text
        assert "dev.jsonl" in text
    assert "my\\|posts.jsonl" in (tmp_path / "adapter" / "README.md").read_text("utf-8")


def test_figures_json_holds_every_figure_unrounded(tmp_path):
    card.write(tmp_path, facts(tmp_path))
    told = json.loads((tmp_path / "figures.json").read_text("utf-8"))
    (dev,) = told["dev"]["sources"]
    assert dev["macro_f1"] == score_of().macro_f1
    assert dev["accuracy_95"] == list(score_of().interval)
    assert dev["confusion"]["neutral"] == {"negative": 0, "neutral": 0, "positive": 0, "unread": 1}
    assert (told["seed"], told["step"], told["base_hash"]) == (3, 120, "0123456789abcdef")
    assert told["learned"][0]["rows"] == 2600


def test_a_full_disk_is_a_clean_error_and_leaves_the_old_card(tmp_path):
    card.write(tmp_path, facts(tmp_path))
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        for size in range(0, 1000, 50):
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, old[1]))
            with pytest.raises(UserError, match="cannot be written: File too large"):
                card.write(tmp_path, facts(tmp_path, step=999))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_a_folder_that_cannot_be_made_is_a_clean_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        card.write(tmp_path / "file" / "adapter", facts(tmp_path))
