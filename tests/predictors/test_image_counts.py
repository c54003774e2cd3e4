"""Images that a model did not see are counted, by reason, in every place that reads posts."""

import json
from pathlib import Path

import pytest
from PIL import Image

from gen_msa.annotation import JobSettings, annotate
from gen_msa.data import open_examples
from gen_msa.errors import InputWarning
from gen_msa.finetuning import dataset, recipe
from gen_msa.predictors.image_counts import count_noted, image_line, unseen_rate
from gen_msa.types import Media, Post
from tests.fixtures.commands import run


@pytest.fixture
def posts(tmp_path: Path) -> Path:
    """Four posts with images: seen, seen under an absolute path, missing, and refused."""
    Image.new("RGB", (40, 40), "red").save(tmp_path / "a.png")
    images = ["a.png", str(tmp_path / "a.png"), "b.png", "https://images.example/a.png"]
    rows = [
        {
            "text": "good tea",
            "image": image,
            "aspects": [{"term": "tea", "polarity": "positive"}],
        }
        for image in images
    ]
    path = tmp_path / "posts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_job_counts_unseen_images_and_exceeds_its_error_rate(posts: Path, tmp_path: Path) -> None:
    settings = JobSettings(model="echo", cues={})
    result = annotate(open_examples(str(posts)), tmp_path / "o.jsonl", settings)
    assert result.counts.images == {"seen": 2, "missing": 1, "url_refused": 1}
    assert result.exceeds_error_rate(settings)
    assert not result.exceeds_error_rate(settings.model_copy(update={"max_error_rate": 0.5}))


def test_last_lines_of_explain_name_unseen_images(posts, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    command = "explain posts.jsonl -m echo -o o.jsonl cues={} max_error_rate=0.5"
    run(command, monkeypatch, capfd)
    assert "images: 2 of 4 seen, 1 missing, 1 url refused" in capfd.readouterr().err


def test_training_announces_unseen_images(posts: Path) -> None:
    fields = {"source": str(posts), "prompt": "predict/brief"}
    settings = recipe.load_recipe("tiny_cpu", [f"data=[{json.dumps(fields)}]"])
    with pytest.warns(InputWarning, match="images: 2 of 4 seen, 1 missing, 1 url refused"):
        training_set = dataset.build_dataset(settings, supports_images=True)
    assert len(training_set.samples) == 4


@pytest.mark.parametrize(
    "provenance",
    [
        {"image": "not shown: the model takes text only"},
        {"image": "not used by this student"},
        {"majority_of": "twitter2015:train"},
    ],
)
def test_images_of_a_text_model_are_not_used_but_no_fault(provenance: dict[str, str]) -> None:
    post = Post(id="1", text="", media=(Media(kind="image", path="a.png"),))
    counts = count_noted(post, provenance)
    assert image_line(counts) == "images: 0 of 1 seen, 1 not used by this model"
    assert unseen_rate(counts) == 0.0
