"""The section of the card and its model-index agree with the results; the rest is unchanged."""

from pathlib import Path

import pytest
import yaml

from gen_msa.errors import UserError
from gen_msa.evaluation.model_card import model_index_entry, render_section, update_model_card
from tests.evaluation.builders import evaluation_result

CARD_TEXT = """\
---
license: apache-2.0   # a comment that stays
tags:
- sentiment
model-index:
- name: mine
  results:
  - task: {type: text-classification}
    dataset: {type: other, name: Other, split: test}
    metrics:
    - {type: accuracy, value: 12.0}
# above the pipeline
pipeline_tag: text-classification
---

# Mine

Words before.
"""


def front_matter(card: Path) -> dict:
    return yaml.safe_load(card.read_text("utf-8").split("---\n")[1])


def test_render_section_has_metrics_intervals_n_and_hashes() -> None:
    section_text, evaluation = render_section(evaluation_result(), "model"), evaluation_result()
    accuracy = evaluation.systems[0].metrics["labels"]["accuracy"]
    assert f"| `labels.accuracy` (%) | 57.1 | {100 * accuracy.low:.1f} – " in section_text
    assert evaluation.data_sha256 in section_text
    assert "| 7 |" in section_text
    assert "seed 0, 100 replicates" in section_text
    assert accuracy.method in section_text


def test_render_section_shows_dash_for_undefined_metric() -> None:
    [line] = [
        x
        for x in render_section(evaluation_result(), "model").splitlines()
        if "`quote_fidelity.verbatim`" in x
    ]
    assert "| – |" in line


def test_update_model_card_is_idempotent(tmp_path: Path) -> None:
    card = tmp_path / "mine" / "README.md"
    update_model_card(card, evaluation_result(), "model")
    first_text = card.read_text("utf-8")
    update_model_card(card, evaluation_result(), "model")
    assert card.read_text("utf-8") == first_text
    assert front_matter(card)["model-index"][0]["name"] == "mine"
    assert first_text.count("### Evaluation on soups:dev") == 1


def test_update_model_card_keeps_other_content(tmp_path: Path) -> None:
    card = tmp_path / "README.md"
    card.write_text(CARD_TEXT, "utf-8")
    update_model_card(card, evaluation_result(), "model")
    card.write_text(card.read_text("utf-8") + "\nWords after.\n", "utf-8")
    update_model_card(card, evaluation_result(), "model")
    text = card.read_text("utf-8")
    for line in ("# a comment that stays", "# above the pipeline", "Words before.", "Words after."):
        assert text.count(line) == 1
    assert text.index("Words before.") < text.index("### Evaluation") < text.index("Words after.")
    assert front_matter(card)["pipeline_tag"] == "text-classification"
    index = front_matter(card)["model-index"][0]
    assert index["name"] == "mine"
    assert [r["dataset"]["type"] for r in index["results"]] == ["other", "soups"]


def test_update_model_card_has_one_section_per_dataset(tmp_path: Path) -> None:
    card = tmp_path / "README.md"
    update_model_card(card, evaluation_result(), "model")
    update_model_card(card, evaluation_result().model_copy(update={"data": "stews:dev"}), "model")
    assert card.read_text("utf-8").count("### Evaluation on") == 2
    assert len(front_matter(card)["model-index"][0]["results"]) == 2


def test_model_index_is_readable_by_huggingface_hub(tmp_path: Path) -> None:
    hub = pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")
    card = tmp_path / "README.md"
    update_model_card(card, evaluation_result(), "model")
    eval_results = hub.ModelCard.load(card).data.eval_results
    [accuracy] = [r for r in eval_results if r.metric_type == "accuracy"]
    assert accuracy.metric_value == pytest.approx(100 * 4 / 7, abs=1e-4)
    assert (accuracy.dataset_type, accuracy.dataset_split) == ("soups", "dev")


def test_update_model_card_escapes_names(tmp_path: Path) -> None:
    hostile_result = evaluation_result().model_copy(update={"data": "a|b--> <script>.jsonl"})
    card = tmp_path / "README.md"
    update_model_card(card, hostile_result, "model")
    update_model_card(card, hostile_result, "model")
    text = card.read_text("utf-8")
    assert "### Evaluation on a\\|b--> &lt;script>.jsonl" in text
    assert text.count("### Evaluation") == 1


def test_model_card_rejects_unknown_system_and_broken_cards(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'model'"):
        model_index_entry(evaluation_result(), "modl")
    card = tmp_path / "README.md"
    update_model_card(card, evaluation_result(), "model")
    card_text = card.read_text("utf-8")
    card.write_text(card_text.replace("<!-- /gen_msa", "<!-- "), "utf-8")
    with pytest.raises(UserError, match="once each"):
        update_model_card(card, evaluation_result(), "model")
    card.write_text("---\na: [\n---\n", "utf-8")
    with pytest.raises(UserError, match="front matter"):
        update_model_card(card, evaluation_result(), "model")
    assert card.read_text("utf-8") == "---\na: [\n---\n"
