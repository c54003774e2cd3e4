"""Images that cannot be read are counted by reason, and too many of them fail, in every command."""

import json
import unicodedata
from pathlib import Path

import pytest
from PIL import Image

KINDS = "images: 3 of 6 seen, 1 corrupt, 1 missing, 1 url refused"
NFC = unicodedata.normalize("NFC", "café.png")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Posts with images: plain, by an absolute path, by a name composed otherwise, and bad."""
    Image.new("RGB", (40, 40), "red").save(tmp_path / "a.png")
    Image.new("RGB", (40, 40), "red").save(tmp_path / unicodedata.normalize("NFD", NFC))
    (tmp_path / "cut.png").write_bytes((tmp_path / "a.png").read_bytes()[:60])
    good = ["a.png", str(tmp_path / "a.png"), NFC]
    bad = ["b.png", "https://images.example/a.png", "cut.png"]
    for name, images in (("posts", [*good, *bad]), ("bad", bad)):
        rows = [
            {"text": "good tea", "image": i, "aspects": [{"term": "tea", "polarity": "positive"}]}
            for i in images
        ]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    return tmp_path


def arguments(verb: str, posts: Path) -> list[object]:
    out = posts.parent
    sources = f"data=[{{source: {posts}, prompt: predict/brief}}]"
    return {
        "explain": ["explain", posts, "-m", "echo", "-o", out / "o.jsonl", "cues={}"],
        "annotate": ["annotate", posts, "-m", "echo", "-o", out / "o.jsonl", "cues={}"],
        "evaluate": [
            *["evaluate", posts, "-m", "echo", "-o", out / "ev", "replicates=100"],
            *["metrics=[labels]", "settings.cues={}"],
        ],
        "finetune": ["finetune", "tiny_cpu", sources, "dev=[]", f"output_dir={out}/ft"],
        "distill": [
            *["distill", "text_image", f"data=[{{source: {posts}}}]", "dev=[]"],
            f"output_dir={out}/st",
        ],
    }[verb]


@pytest.mark.parametrize("verb", ["explain", "annotate", "evaluate"])
def test_a_job_names_unseen_images_and_ends_with_3_above_its_error_rate(gen_msa, folder, verb):
    posts = folder / "posts.jsonl"
    completed = gen_msa(*arguments(verb, posts))
    report = folder / "ev/metrics.md"
    assert KINDS in (report.read_text("utf-8") if verb == "evaluate" else completed.err)
    assert "not used: 3 images" in completed.err
    assert completed.code == 3
    completed = gen_msa(*arguments(verb, posts), "--max-error-rate", "0.5")
    assert completed.code == 0, completed.err


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["finetune", "distill"])
def test_training_names_unseen_images_and_stops_before_it_if_most_are(gen_msa, folder, verb):
    completed = gen_msa(*arguments(verb, folder / "posts.jsonl"), "--dry-run")
    assert completed.code == 0, completed.err
    assert f"note: training posts: {KINDS}" in completed.err
    assert completed.err.rstrip().endswith("not used: 3 images")
    completed = gen_msa(*arguments(verb, folder / "bad.jsonl"), "--dry-run")
    assert completed.code == 2
    assert "training posts: images: 0 of 3 seen, 1 corrupt, 1 missing" in completed.err
    assert "max_error_rate=1" in completed.err
    completed = gen_msa(*arguments(verb, folder / "posts.jsonl"), "--dry-run", "--strict")
    assert completed.code == 2


@pytest.mark.parametrize("verb", ["explain", "annotate"])
def test_a_wrong_media_root_is_seen_at_once(gen_msa, folder, tmp_path_factory, verb):
    root = tmp_path_factory.mktemp("elsewhere")
    completed = gen_msa(*arguments(verb, folder / "posts.jsonl"), "--media-root", root)
    assert completed.code == 3
    assert "images: 0 of 6 seen, 4 missing, 1 outside root, 1 url refused" in completed.err
