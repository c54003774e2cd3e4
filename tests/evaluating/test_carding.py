"""The card's section and its model-index say what the results say, and leave the rest alone."""

from pathlib import Path

import pytest
import yaml

from gen_msa.errors import UserError
from gen_msa.evaluating.carding import model_index, put, section
from tests.evaluating.making import result

OURS = """\
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


def front(card: Path) -> dict:
    return yaml.safe_load(card.read_text("utf-8").split("---\n")[1])


def test_the_section_has_figures_intervals_n_and_hashes() -> None:
    said, made = section(result(), "model"), result()
    accuracy = made.readers[0].figures["labels"]["accuracy"]
    assert f"| `labels.accuracy` (%) | 57.1 | {100 * accuracy.low:.1f} – " in said
    assert made.data_sha256 in said
    assert "| 7 |" in said
    assert "seed 0, 100 replicates" in said
    assert accuracy.how in said


def test_a_figure_that_is_undefined_says_why() -> None:
    [line] = [x for x in section(result(), "model").splitlines() if "`quoting.verbatim`" in x]
    assert "| – |" in line


def test_a_card_is_made_and_written_again_without_change(tmp_path: Path) -> None:
    card = tmp_path / "mine" / "README.md"
    put(card, result(), "model")
    once = card.read_text("utf-8")
    put(card, result(), "model")
    assert card.read_text("utf-8") == once
    assert front(card)["model-index"][0]["name"] == "mine"
    assert once.count("### Evaluation on soups:dev") == 1


def test_everything_else_of_a_card_stays_as_it_was(tmp_path: Path) -> None:
    card = tmp_path / "README.md"
    card.write_text(OURS, "utf-8")
    put(card, result(), "model")
    card.write_text(card.read_text("utf-8") + "\nWords after.\n", "utf-8")
    put(card, result(), "model")
    text = card.read_text("utf-8")
    for kept in ("# a comment that stays", "# above the pipeline", "Words before.", "Words after."):
        assert text.count(kept) == 1
    assert text.index("Words before.") < text.index("### Evaluation") < text.index("Words after.")
    assert front(card)["pipeline_tag"] == "text-classification"
    index = front(card)["model-index"][0]
    assert index["name"] == "mine"
    assert [r["dataset"]["type"] for r in index["results"]] == ["other", "soups"]


def test_two_data_sets_have_a_section_each(tmp_path: Path) -> None:
    card = tmp_path / "README.md"
    put(card, result(), "model")
    put(card, result().model_copy(update={"data": "stews:dev"}), "model")
    assert card.read_text("utf-8").count("### Evaluation on") == 2
    assert len(front(card)["model-index"][0]["results"]) == 2


def test_the_index_is_what_the_hub_reads(tmp_path: Path) -> None:
    hub = pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")
    card = tmp_path / "README.md"
    put(card, result(), "model")
    read = hub.ModelCard.load(card).data.eval_results
    [accuracy] = [r for r in read if r.metric_type == "accuracy"]
    assert accuracy.metric_value == pytest.approx(100 * 4 / 7, abs=1e-4)
    assert (accuracy.dataset_type, accuracy.dataset_split) == ("soups", "dev")


def test_names_cannot_break_the_table_or_the_marks(tmp_path: Path) -> None:
    wild = result().model_copy(update={"data": "a|b--> <script>.jsonl"})
    card = tmp_path / "README.md"
    put(card, wild, "model")
    put(card, wild, "model")
    text = card.read_text("utf-8")
    assert "### Evaluation on a\\|b--> &lt;script>.jsonl" in text
    assert text.count("### Evaluation") == 1


def test_an_unknown_reader_and_broken_cards_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'model'"):
        model_index(result(), "modl")
    card = tmp_path / "README.md"
    put(card, result(), "model")
    whole = card.read_text("utf-8")
    card.write_text(whole.replace("<!-- /gen_msa", "<!-- "), "utf-8")
    with pytest.raises(UserError, match="once each"):
        put(card, result(), "model")
    card.write_text("---\na: [\n---\n", "utf-8")
    with pytest.raises(UserError, match="front matter"):
        put(card, result(), "model")
    assert card.read_text("utf-8") == "---\na: [\n---\n"
