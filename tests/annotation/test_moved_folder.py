"""Where files lie is no part of an answer's key: a moved or renamed job asks nothing again."""

import json
import shutil

import pytest

from gen_msa import manifest, predictors
from gen_msa.annotation import (
    AnnotateSettings,
    JobSettings,
    Shard,
    annotate,
    annotate_shard,
    merge_shards,
)
from gen_msa.answer_cache import fingerprint_key
from gen_msa.data import open_examples
from gen_msa.errors import UserError
from gen_msa.models.inference.serialization import save_student
from gen_msa.predictors import PredictorSettings
from tests.fixtures.posts import post, write_posts
from tests.fixtures.tiny_students import make_collator, make_student

PROMPT = """---
about: A prompt of the user's own.
task: aspect
labels: {negative: negative, neutral: neutral, positive: positive}
keys: {label: Sentiment, explanation: Explanation}
max_new_tokens: 60
---
{{ turn("user") }}
MARK
{% include "parts/post.jinja" %}
{% include "parts/question.jinja" %}
"""


@pytest.fixture
def job(tmp_path):
    folder = tmp_path / "job"
    folder.mkdir()
    write_posts(folder / "posts.jsonl", map(post, range(6)))
    (folder / "captions.json").write_text(json.dumps({"p0": "a phone"}))
    (folder / "objects.json").write_text(json.dumps({"p0": ["phone"]}))
    (folder / "script.jsonl").write_text('{"contains": "p0", "answer": "LABEL: positive"}\n')
    (folder / "student").mkdir()
    collator = make_collator(max_length=64)
    save_student(folder / "student", make_student(), collator, text="post", name="text")
    manifest.seal(folder / "student")
    return folder


def settings(folder, kind="cues", **more):
    """Return the settings of a job whose files lie in `folder`."""
    cues = {
        "context": {"files": [f"{folder}/captions.json"]},
        "objects": {"file": f"{folder}/objects.json"},
    }
    options = {
        "cues": {"model": "echo", "cues": cues, "prompt": "predict/full", "chunk": 2},
        "student": {"model": f"student:{folder}/student", "chunk": 2},
        "recorded": {"model": f"recorded:{folder}/recorded.jsonl", "chunk": 2},
    }
    return {**options[kind], "language": "en", **more}


def run(folder, kind="cues", settings_type=JobSettings, **more):
    """Run a job in `folder`; return the posts that were answered from the cache, and the rows."""
    built = settings_type.model_validate(settings(folder, kind, **more))
    out = folder.resolve() / f"opinions-{kind}.jsonl"
    source = open_examples(str(folder / "posts.jsonl"))
    result = annotate(source, out, built, cache_path=out.with_suffix(".cache"))
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    return result.counts.from_cache, rows, built.model


def record(folder):
    _, rows, _ = run(folder, "cues", cues={})
    (folder / "recorded.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))


@pytest.mark.parametrize("kind", ["cues", "student", "recorded"])
@pytest.mark.parametrize("way", ["moved", "relative", "linked"])
def test_another_path_asks_no_question_again(job, monkeypatch, kind, way):
    record(job)
    from_cache, first, _ = run(job, kind)
    assert from_cache == 0
    other = job
    if way == "moved":
        other = job.parent / "elsewhere" / "deeper"
        shutil.copytree(job, other)
        shutil.rmtree(job)
    elif way == "relative":
        monkeypatch.chdir(job.parent)
        other = job.relative_to(job.parent)
    else:
        other = job.parent / "link"
        other.symlink_to(job)
    from_cache, second, model = run(other, kind)
    assert from_cache == 6
    opinions = [o for row in second for o in row["opinions"]]
    assert {o["annotator"] for o in opinions} == {model}
    first_labels = [o["polarity"] for row in first for o in row["opinions"]]
    assert first_labels == [o["polarity"] for o in opinions]


@pytest.mark.parametrize(
    ("kind", "file", "text"),
    [
        ("cues", "captions.json", '{"p0": "a tablet"}'),
        ("cues", "objects.json", '{"p0": ["tablet"]}'),
    ],
)
def test_another_content_at_the_same_path_asks_again(job, kind, file, text):
    run(job, kind)
    (job / file).write_text(text)
    assert run(job, kind)[0] == 0


def test_retrained_student_at_the_same_path_asks_again(job):
    run(job, "student")
    (job / "student" / "MANIFEST.json").unlink()
    collator = make_collator(max_length=64)
    save_student(job / "student", make_student(), collator, text="post", name="text")
    manifest.seal(job / "student")
    assert run(job, "student")[0] == 0


def test_filters_with_files_are_not_run_again_by_another_path(job, monkeypatch):
    def more(folder):
        sources = {"context": {"files": [f"{folder}/captions.json"]}}
        return {"filters": {"grounded": {"sources": sources}, "length": {"max_words": 60}}}

    run(job, settings_type=AnnotateSettings, **more(job))
    monkeypatch.chdir(job)
    other = job.relative_to(job)
    assert run(other, settings_type=AnnotateSettings, **more(other))[0] == 6
    shorter = {"filters": {**more(other)["filters"], "length": {"max_words": 59}}}
    assert run(other, settings_type=AnnotateSettings, **shorter)[0] == 0


def test_shards_run_by_different_paths_are_merged(job, monkeypatch):
    monkeypatch.chdir(job.parent)
    relative = job.relative_to(job.parent)
    parts = []
    for index, folder in enumerate((job, relative), 1):
        parts.append(job / f"o.{index}-of-2.part")
        built = JobSettings.model_validate(settings(folder))
        source = open_examples(str(folder / "posts.jsonl"))
        annotate_shard(source, parts[-1], Shard(index, 2), built)
    result, _ = merge_shards(parts, job / "o.jsonl")
    assert result.counts.written == 6
    (job / "captions.json").write_text('{"p0": "a tablet"}')
    built = JobSettings.model_validate(settings(relative))
    annotate_shard(open_examples(str(job / "posts.jsonl")), parts[1], Shard(2, 2), built)
    with pytest.raises(UserError, match="different settings"):
        merge_shards(parts, job / "o.jsonl")


def test_service_has_one_revision_whatever_folder_it_stores_uploads_in(tmp_path):
    built = PredictorSettings(model="echo", prompt="predict/full")
    keys = {fingerprint_key(predictors.make(built, tmp_path / name).fingerprint()) for name in "ab"}
    assert len(keys) == 1


def test_prompt_file_counts_by_its_text(tmp_path):
    keys = []
    for name, text in (("a", "one"), ("b/c", "one"), ("a", "two")):
        path = tmp_path / name / "own.jinja"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(PROMPT.replace("MARK", text))
        built = PredictorSettings(model="echo", prompt=str(path), cues={})
        keys.append(fingerprint_key(predictors.make(built, tmp_path).fingerprint()))
    assert keys[0] == keys[1] != keys[2]


def test_features_count_by_the_bytes_of_their_file(tmp_path):
    from gen_msa.media import ImageLimits, digest
    from gen_msa.types import Media

    (tmp_path / "f.safetensors").write_bytes(b"one")
    item = Media(kind="features", path="f.safetensors", key="audio")
    before = digest(item, tmp_path, ImageLimits())
    (tmp_path / "f.safetensors").write_bytes(b"another")
    assert digest(item, tmp_path, ImageLimits()) != before


def test_absolute_image_path_below_the_root_counts_as_relative(tmp_path):
    from gen_msa.media import relative_to_root
    from gen_msa.types import Media

    (tmp_path / "link").symlink_to(tmp_path)
    item = Media(kind="image", path=str(tmp_path / "a" / "1.png"))
    assert relative_to_root(item, tmp_path).path == "a/1.png"
    assert relative_to_root(item, tmp_path / "link").path == "a/1.png"
    elsewhere = Media(kind="image", path="/elsewhere/1.png")
    assert relative_to_root(elsewhere, tmp_path) == elsewhere
