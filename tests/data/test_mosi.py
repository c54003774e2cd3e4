"""Test MOSI: sequences without later utterances, cached once, standardized on train."""

import json
from pathlib import Path

import pytest

from gen_msa.data import datasets, mosi, open_examples
from gen_msa.data.mosi import WIDTHS, split_of
from gen_msa.errors import UserError
from gen_msa.types import Example, Rejected

TRAIN, DEV = "v0", "v6"


def mosi_row(name: str, number: int, value: float, **fields: object) -> dict[str, object]:
    vectors = {m: [value] * w for m, w in WIDTHS.items()}
    row = {"id": f"{name}_{number}", "transcript": f"TEA {number}", "label": number % 2}
    return {**row, **vectors, **fields}


def write_rows(path: Path, *rows: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GEN_MSA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("GEN_MSA_DATA", str(tmp_path))
    # As in the corpus: 10 stands before 2.
    numbers = [1, 10, 11, *range(2, 10)]
    rows = [mosi_row(TRAIN, n, n) for n in numbers] + [mosi_row(DEV, n, 100 + n) for n in (3, 1)]
    write_rows(tmp_path / "mosi/train.jsonl", *rows)
    write_rows(tmp_path / "mosi/test.jsonl", mosi_row("w", 1, 6), mosi_row("w", 2, 11))
    return tmp_path


def load_steps(split: str) -> dict[str, list[list[float]]]:
    """Return the steps of a split's posts by key, read with safetensors."""
    numpy = pytest.importorskip("safetensors.numpy", reason="safetensors is not installed")
    source = open_examples(f"mosi:{split}")
    media = [m for e in source.rows() if isinstance(e, Example) for m in e.post.media]
    files = {m.path: numpy.load_file(source.media_root / m.path) for m in media}
    return {str(m.key): files[m.path][m.key].tolist() for m in media}


def test_train_and_dev_share_no_video(root: Path) -> None:
    assert (split_of(TRAIN), split_of(DEV)) == ("train", "dev")
    videos = {
        s: {k.partition("/")[2].split("_")[0] for k in load_steps(s)} for s in ("train", "dev")
    }
    assert videos == {"train": {TRAIN}, "dev": {DEV}}
    share = sum(split_of(str(i)) == "dev" for i in range(5000)) / 5000
    assert 0.18 < share < 0.22


def test_steps_are_last_utterances_in_order_with_current_last(root: Path) -> None:
    steps_by_key = load_steps("train")
    assert len(steps_by_key["audio/v0_1"]) == 1
    assert len(steps_by_key["audio/v0_11"]) == mosi.MAX_STEPS
    for n in range(1, 12):
        steps = [row[0] for row in steps_by_key[f"audio/v0_{n}"]]
        assert steps == sorted(steps)
        # What an utterance adds is the same in every later sequence: its own vector.
        assert steps[-1] == pytest.approx((n - 6) / 10**0.5, abs=1e-5)
    assert {len(row) for key in steps_by_key for row in steps_by_key[key]} == set(WIDTHS.values())


def test_later_utterance_does_not_change_earlier_sequences(root: Path) -> None:
    before = load_steps("dev")
    path = root / "mosi/train.jsonl"
    rows = path.read_text("utf-8").splitlines()
    write_rows(path, *map(json.loads, rows), mosi_row(DEV, 4, -50))
    after = load_steps("dev")
    assert len(after) == len(before) + 2
    assert {k: after[k] for k in before} == before


def test_dev_and_test_are_standardized_with_train_statistics(root: Path) -> None:
    assert load_steps("test")["video/w_1"][0][0] == pytest.approx(0)
    assert load_steps("test")["video/w_2"][-1][0] == pytest.approx(5 / 10**0.5, abs=1e-5)
    assert load_steps("dev")["audio/v6_1"][0][0] == mosi.MAX_ABS_ZSCORE


def test_features_file_is_rebuilt_only_when_stale_or_damaged(root: Path) -> None:
    first = load_steps("train")
    (file,) = (root / "cache").rglob(mosi.FEATURES_FILE)
    modified_at = file.stat().st_mtime_ns
    assert load_steps("train") == first
    assert file.stat().st_mtime_ns == modified_at
    file.write_bytes(file.read_bytes()[:-4] + b"\0\0\0\0")
    assert load_steps("train") == first
    write_rows(root / "mosi/train.jsonl", mosi_row(TRAIN, 1, 3), mosi_row(TRAIN, 2, 5))
    assert load_steps("train")["audio/v0_2"][1][0] == pytest.approx(1)
    assert len(list((root / "cache").rglob(mosi.FEATURES_FILE))) == 2


def test_row_with_wrong_shape_is_rejected_and_missing_vectors_are_not(root: Path) -> None:
    invalid_fields = [{"audio": [1.0, 2.0]}, {"video": [float("nan")] * 100}, {"label": 2}]
    rows = [mosi_row(TRAIN, i, 1, **b) for i, b in enumerate(invalid_fields)]
    write_rows(root / "mosi/train.jsonl", *rows, mosi_row(TRAIN, 9, 1, audio=[]))
    results = list(datasets["mosi"].read(root, "train"))
    reasons = [r.reason for r in results if isinstance(r, Rejected)]
    assert ["audio" in reasons[0], "video" in reasons[1], "label" in reasons[2]] == [True] * 3
    (accepted,) = (r for r in results if isinstance(r, Example))
    assert [m.key for m in accepted.post.media] == ["video/v0_9"]
    assert accepted.post.meta == {"video": TRAIN, "utterance": "9"}


def test_unwritable_cache_raises_with_hint(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "file").write_text("")
    monkeypatch.setenv("GEN_MSA_CACHE", str(root / "file" / "cache"))
    with pytest.raises(UserError, match="GEN_MSA_CACHE"):
        list(open_examples("mosi:train").rows())
