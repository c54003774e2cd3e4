"""Model cards: complete metrics, nothing of this machine, written atomically."""

import json
import resource
import signal

import pytest
from huggingface_hub import ModelCard

from gen_msa.errors import UserError
from gen_msa.finetuning import save_adapter
from gen_msa.finetuning.recipe import FinetuneData, FinetuneRecipe
from gen_msa.finetuning.save_adapter import AdapterCard, TrainSource
from gen_msa.finetuning.validation import ExplanationScores, SourceScores, ValidationResult
from gen_msa.metrics.labels import score_labels
from gen_msa.types import Polarity

NEG, NEU, POS = Polarity


def validation_result(**changes):
    scores = score_labels([NEG, POS, NEU, POS], [NEG, POS, None, NEG])
    explanations = ExplanationScores(
        n=4, read=3, of_aspect=3, naming_aspect=3, with_quotes=2, quotes=8, verbatim_quotes=7
    )
    fields = {
        "source": "mams:dev",
        "prompt": "predict/full@1a2b3c4d",
        "data_sha256": "f" * 64,
        "posts": 2,
        "rejected_rows": 0,
        "refused_posts": 0,
        "reasked": 0,
        "scores": scores,
        "explanations": explanations,
    }
    return ValidationResult(
        (SourceScores(**{**fields, **changes}),), seed=3, step=120, revision="step-120"
    )


def adapter_card(tmp_path, **changes):
    recipe = FinetuneRecipe(
        model_name_or_path=str(tmp_path / "models" / "smol"),
        output_dir=str(tmp_path / "my-run"),
        data=(
            FinetuneData(source="mams:train"),
            FinetuneData(source=str(tmp_path / "my|posts.jsonl")),
        ),
        seed=3,
        optimizations={"feature_cache": str(tmp_path / "cache")},
    )
    train_sources = (
        TrainSource("mams:train", "predict/full@1a2b3c4d", "gold", "cue", 1000, 2600, 4),
        TrainSource(str(tmp_path / "my|posts.jsonl"), "predict/full@1a2b3c4d", "gold", "", 10, 10),
    )
    fields = {
        "recipe": recipe,
        "base": str(tmp_path / "models" / "smol"),
        "base_hash": "0123456789abcdef",
        "train_sources": train_sources,
        "metrics": validation_result().as_json(),
        "step": 120,
        "trained_params": 460_800,
    }
    return AdapterCard(**{**fields, **changes})


def test_front_matter_is_parsed_by_huggingface_hub(tmp_path):
    front_matter = ModelCard(
        save_adapter.render_card(adapter_card(tmp_path, base="owner/smol", license="mit"))
    ).data
    assert front_matter.base_model == "owner/smol"
    assert front_matter.library_name == "peft"
    assert front_matter.license == "mit"
    assert {"gen_msa", "lora"} <= set(front_matter.tags)
    assert front_matter.model_name == "my-run"
    results = {(r.dataset_name, r.metric_type): r.metric_value for r in front_matter.eval_results}
    assert results == {
        ("mams:dev", "accuracy"): 0.5,
        ("mams:dev", "f1"): pytest.approx(source_scores().macro_f1, abs=1e-4),
    }


def source_scores():
    return validation_result().sources[0].scores


def test_metrics_table_shows_n_interval_seed_prompt_and_data_hash(tmp_path):
    text = save_adapter.render_card(adapter_card(tmp_path))
    (row,) = (line for line in text.splitlines() if line.startswith("| mams:dev"))
    cells = [c.strip() for c in row.strip("|").split("|")]
    assert cells == [
        *("mams:dev", "4", "75.0", "50.0 [15.0, 85.0]", "44.4", "75.0", "100.0", "87.5"),
        *("predict/full@1a2b3c4d", "ffffffffffff"),
    ]
    assert "step 120" in text
    assert "seed 3" in text


def test_card_explains_usage_and_limits(tmp_path):
    text = save_adapter.render_card(adapter_card(tmp_path))
    assert "--model transformers:BASE@DIR" in text
    assert "`BASE` the folder of `smol`" in text
    assert "--model transformers:owner/smol@DIR" in save_adapter.render_card(
        adapter_card(tmp_path, base="owner/smol")
    )
    assert "--model builtin:DIR" in save_adapter.render_card(adapter_card(tmp_path, base="builtin"))
    assert "they are optimistic" in text
    assert "Its explanations imitate" in text
    assert "| mams:train | 1,000 | 2,600 | 4 | gold | cue | predict/full@1a2b3c4d |" in text


def test_card_begins_with_the_caveat_of_its_recipe(tmp_path):
    card = adapter_card(tmp_path)
    assert "my-run\n\nA LoRA adapter" in save_adapter.render_card(card)
    recipe = card.recipe.model_copy(update={"caveat": "It learns nothing useful."})
    text = save_adapter.render_card(adapter_card(tmp_path, recipe=recipe))
    assert "my-run\n\n**It learns nothing useful.**\n\nA LoRA adapter" in text


def test_card_without_dev_metrics_says_so(tmp_path):
    text = save_adapter.render_card(adapter_card(tmp_path, metrics=None))
    assert "had no dev source" in text
    assert "optimistic" not in text
    assert "model-index" not in text


def test_joint_and_missing_metrics_are_rendered(tmp_path):
    metrics = validation_result(joint_f1=0.5, explanations=None).as_json()
    text = save_adapter.render_card(adapter_card(tmp_path, metrics=metrics))
    assert "Aspects and polarities together in mams:dev: F1 50.0" in text
    assert "| – | – | – |" in text


def test_card_contains_no_local_path(tmp_path):
    metrics = validation_result(source=str(tmp_path / "dev.jsonl")).as_json()
    data = adapter_card(tmp_path, metrics=metrics)
    save_adapter.write_card(tmp_path / "adapter", data)
    for name in ("README.md", "metrics.json"):
        text = (tmp_path / "adapter" / name).read_text("utf-8")
        assert str(tmp_path) not in text
        assert "dev.jsonl" in text
    assert "my\\|posts.jsonl" in (tmp_path / "adapter" / "README.md").read_text("utf-8")


def test_metrics_json_holds_unrounded_metrics(tmp_path):
    save_adapter.write_card(tmp_path, adapter_card(tmp_path))
    metrics = json.loads((tmp_path / "metrics.json").read_text("utf-8"))
    (dev,) = metrics["dev"]["sources"]
    assert dev["macro_f1"] == source_scores().macro_f1
    assert dev["accuracy_95"] == list(source_scores().interval)
    assert dev["confusion"]["neutral"] == {
        "negative": 0,
        "neutral": 0,
        "positive": 0,
        "unparsed": 1,
    }
    assert (metrics["seed"], metrics["step"], metrics["base_hash"]) == (3, 120, "0123456789abcdef")
    assert metrics["train_data"][0]["rows"] == 2600


def test_full_disk_is_a_clean_error_and_keeps_the_old_card(tmp_path):
    save_adapter.write_card(tmp_path, adapter_card(tmp_path))
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    old_limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        for size in range(0, 1000, 50):
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, old_limit[1]))
            with pytest.raises(UserError, match="cannot be written: File too large"):
                save_adapter.write_card(tmp_path, adapter_card(tmp_path, step=999))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old_limit)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_uncreatable_folder_is_a_clean_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        save_adapter.write_card(tmp_path / "file" / "adapter", adapter_card(tmp_path))
