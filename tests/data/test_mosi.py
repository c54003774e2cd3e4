"""MOSI: sequences that know no later utterance, made once, on the scale of train."""

import json
from pathlib import Path

import pytest

from gen_msa.data import _steps, datasets, open_source
from gen_msa.data.mosi import WIDTHS, split_of
from gen_msa.errors import UserError
from gen_msa.types import Example, Rejected

TRAIN, DEV = "v0", "v6"


def said(name: str, number: int, level: float, **other: object) -> dict[str, object]:
    vectors = {m: [level] * w for m, w in WIDTHS.items()}
    row = {"id": f"{name}_{number}", "transcript": f"TEA {number}", "label": number % 2}
    return {**row, **vectors, **other}


def written(path: Path, *rows: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GEN_MSA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("GEN_MSA_DATA", str(tmp_path))
    # As in the corpus: 10 stands before 2.
    numbers = [1, 10, 11, *range(2, 10)]
    rows = [said(TRAIN, n, n) for n in numbers] + [said(DEV, n, 100 + n) for n in (3, 1)]
    written(tmp_path / "mosi/train.jsonl", *rows)
    written(tmp_path / "mosi/test.jsonl", said("w", 1, 6), said("w", 2, 11))
    return tmp_path


def tensors(split: str) -> dict[str, list[list[float]]]:
    """Key -> steps of the posts of a split, read by the library."""
    numpy = pytest.importorskip("safetensors.numpy", reason="safetensors is not installed")
    source = open_source(f"mosi:{split}")
    media = [m for e in source.rows() if isinstance(e, Example) for m in e.post.media]
    files = {m.path: numpy.load_file(source.media_root / m.path) for m in media}
    return {str(m.key): files[m.path][m.key].tolist() for m in media}


def test_no_video_is_in_train_and_dev(root: Path) -> None:
    assert (split_of(TRAIN), split_of(DEV)) == ("train", "dev")
    videos = {s: {k.partition("/")[2].split("_")[0] for k in tensors(s)} for s in ("train", "dev")}
    assert videos == {"train": {TRAIN}, "dev": {DEV}}
    share = sum(split_of(str(i)) == "dev" for i in range(5000)) / 5000
    assert 0.18 < share < 0.22


def test_steps_are_the_last_utterances_in_order_the_own_one_last(root: Path) -> None:
    found = tensors("train")
    assert len(found["audio/v0_1"]) == 1
    assert len(found["audio/v0_11"]) == _steps.STEPS
    for n in range(1, 12):
        steps = [row[0] for row in found[f"audio/v0_{n}"]]
        assert steps == sorted(steps)
        # What an utterance adds is the same in every later sequence: its own vector.
        assert steps[-1] == pytest.approx((n - 6) / 10**0.5, abs=1e-5)
    assert {len(row) for key in found for row in found[key]} == set(WIDTHS.values())


def test_a_later_utterance_changes_nothing_before_it(root: Path) -> None:
    before = tensors("dev")
    path = root / "mosi/train.jsonl"
    rows = path.read_text("utf-8").splitlines()
    written(path, *map(json.loads, rows), said(DEV, 4, -50))
    after = tensors("dev")
    assert len(after) == len(before) + 2
    assert {k: after[k] for k in before} == before


def test_dev_and_test_are_put_on_the_scale_of_train(root: Path) -> None:
    assert tensors("test")["video/w_1"][0][0] == pytest.approx(0)
    assert tensors("test")["video/w_2"][-1][0] == pytest.approx(5 / 10**0.5, abs=1e-5)
    assert tensors("dev")["audio/v6_1"][0][0] == _steps.LIMIT


def test_the_file_is_made_once_and_again_when_it_or_its_source_is_not_as_it_was(root: Path) -> None:
    first = tensors("train")
    (file,) = (root / "cache").rglob(_steps.FILE)
    made = file.stat().st_mtime_ns
    assert tensors("train") == first
    assert file.stat().st_mtime_ns == made
    file.write_bytes(file.read_bytes()[:-4] + b"\0\0\0\0")
    assert tensors("train") == first
    written(root / "mosi/train.jsonl", said(TRAIN, 1, 3), said(TRAIN, 2, 5))
    assert tensors("train")["audio/v0_2"][1][0] == pytest.approx(1)
    assert len(list((root / "cache").rglob(_steps.FILE))) == 2


def test_a_row_of_another_shape_is_set_aside_and_one_without_vectors_is_a_post(root: Path) -> None:
    bad = [{"audio": [1.0, 2.0]}, {"video": [float("nan")] * 100}, {"label": 2}]
    rows = [said(TRAIN, i, 1, **b) for i, b in enumerate(bad)]
    written(root / "mosi/train.jsonl", *rows, said(TRAIN, 9, 1, audio=[]))
    found = list(datasets["mosi"].read(root, "train"))
    refused = [r.reason for r in found if isinstance(r, Rejected)]
    assert ["audio" in refused[0], "video" in refused[1], "label" in refused[2]] == [True] * 3
    (good,) = (r for r in found if isinstance(r, Example))
    assert [m.key for m in good.post.media] == ["video/v0_9"]
    assert good.post.meta == {"video": TRAIN, "utterance": "9"}


def test_a_cache_that_cannot_be_written_is_an_error_that_says_what_to_do(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "file").write_text("")
    monkeypatch.setenv("GEN_MSA_CACHE", str(root / "file" / "cache"))
    with pytest.raises(UserError, match="GEN_MSA_CACHE"):
        list(open_source("mosi:train").rows())
