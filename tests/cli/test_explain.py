"""`gen-msa explain` on the command line, with the packaged fake model."""

import csv
import json

import pytest

from gen_msa.data.formats import formats
from tests.fixtures.posts import post, write_image, write_posts


def rows(text):
    return [json.loads(line) for line in text.split("\n") if line]


def test_invalid_unicode_text_is_rejected(gen_msa):
    completed = gen_msa("explain", "--text", "caf\udce9 was great", "--model", "echo")
    assert completed.code == 2
    assert "text: character 3 is half a character" in completed.err.replace("\n", " ")
    assert "UTF-8" in completed.err


def test_single_post_from_the_command_line(gen_msa, tmp_path):
    image_path = write_image(tmp_path / "a.jpg")
    text = "Battery died, but the screen is lovely"
    completed = gen_msa(
        "explain", "--text", text, "--image", image_path, "--aspect", "screen",
        "--aspect", "Battery", "--model", "echo",
    )  # fmt: skip
    assert completed.code == 0
    (row,) = rows(completed.out)
    assert row["post"]["media"][0]["path"] == "a.jpg"
    assert [o["aspect"] for o in row["opinions"]] == [
        {"term": "screen", "start": 22},
        {"term": "Battery", "start": 0},
    ]


def test_overall_gives_one_opinion_on_the_post(gen_msa):
    completed = gen_msa("explain", "--text", "What a day", "--overall", "-m", "echo")
    assert [o["aspect"]["term"] for o in rows(completed.out)[0]["opinions"]] == [""]


def test_all_output_formats_hold_the_same_opinions(gen_msa, tmp_path):
    path = write_posts(tmp_path / "posts.jsonl", map(post, range(12)))
    out, csv_path, html_path = (tmp_path / n for n in ("o.parquet", "o.csv", "o.html"))
    completed = gen_msa(
        "explain", path, "-m", "echo", "-o", out, "--csv", csv_path, "--html", html_path
    )
    assert completed.code == 0
    assert completed.out == ""
    examples = list(formats["parquet"].read(out))
    assert [e.post.id for e in examples] == [f"p{i}" for i in range(12)]
    with csv_path.open(encoding="utf-8-sig", newline="") as f:
        assert len(list(csv.DictReader(f))) == sum(len(e.opinions) for e in examples) == 24
    assert html_path.read_text("utf-8").count("p11")
    assert not (tmp_path / "o.jsonl").exists()
    assert f"wrote {out}" in completed.err.replace("\n", "")


def test_too_many_bad_rows_exit_with_3(gen_msa, tmp_path):
    path = write_posts(tmp_path / "posts.jsonl", map(post, range(5)))
    with path.open("a") as f:
        f.write("{\n")
    completed = gen_msa("explain", path, "-m", "echo", "-o", tmp_path / "o.jsonl")
    assert completed.code == 3
    assert "1 row rejected; see" in completed.err
    lenient = gen_msa("explain", path, "-m", "echo", "--max-error-rate", "0.5")
    assert lenient.code == 0
    assert len(rows(lenient.out)) == 5
    assert gen_msa("explain", path, "-m", "echo", "--max-error-rate", "0.5", "--strict").code == 3


def test_settings_come_from_yaml_and_overrides(gen_msa, tmp_path):
    config = tmp_path / "c.yaml"
    config.write_text("model: echo\nprompt: predict/plain\n")
    out = tmp_path / "o.jsonl"
    gen_msa("explain", "tiny", "--config", config, "limit=3", "cues={}", "-o", out)
    opinions = [
        o
        for row in rows(out.read_text("utf-8"))
        for o in row["opinions"]
        if o["annotator"] == "echo"
    ]
    assert {o["provenance"]["prompt"].partition("@")[0] for o in opinions} == {"predict/plain"}
    assert len(out.read_text("utf-8").splitlines()) == 3


def test_parquet_output_leaves_other_files_untouched(gen_msa, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_posts(tmp_path / "posts.jsonl", map(post, range(3)))
    existing = {"posts.jsonl": (tmp_path / "posts.jsonl").read_bytes(), "keep.jsonl": b"mine"}
    (tmp_path / "keep.jsonl").write_bytes(existing["keep.jsonl"])
    for out in ("posts.parquet", "keep.parquet"):
        assert gen_msa("explain", "posts.jsonl", "-m", "echo", "-o", out).code == 0
        assert len(list(formats["parquet"].read(tmp_path / out))) == 3
    assert {n: (tmp_path / n).read_bytes() for n in existing} == existing
    assert not list(tmp_path.glob(".*"))
    assert (tmp_path / "keep.settings.yaml").is_file()


@pytest.mark.parametrize("option", ["-o", "--csv"])
def test_output_must_not_overwrite_the_input(gen_msa, tmp_path, option):
    path = write_posts(tmp_path / "posts.jsonl", [post(0)])
    before = path.read_bytes()
    (tmp_path / "x").mkdir()
    completed = gen_msa(
        "explain", path, "-m", "echo", option, tmp_path / "x" / ".." / "posts.jsonl"
    )
    assert completed.code == 2
    assert "is both input and output" in completed.err
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no_such_file.jsonl"], "neither a file nor a dataset"),
        (["tiny:dev"], "tiny has no split 'dev'"),
        ([], "no input"),
        (["tiny", "modell=echo"], "did you mean 'model'"),
        (["tiny", "--model", "ecco"], "did you mean 'echo'"),
        (["tiny", "--model", "echo", "--prompt", "predict/fulll"], "did you mean 'predict/full'"),
        (["tiny", "--model", "echo", "-o", "x.txt"], "must end in .jsonl or .parquet"),
        (["tiny", "--text", "x"], "exclude each other"),
    ],
)
def test_user_error_is_reported_without_traceback(gen_msa, arguments, message):
    completed = gen_msa("explain", *arguments)
    assert completed.code == 2
    assert message in completed.err
    assert "Traceback" not in completed.err


def test_unusual_texts_are_preserved(gen_msa, tmp_path):
    texts = [
        "x" * 100_000,
        "a literal <image> and <|im_end|> and $T$ and {{7*7}}",
        "🙂🏽 family 👨‍👩‍👧 flags 🇪🇺",
        "الخدمة ممتازة لكن الطعام بارد",
        "服务很好,但是菜冷了",
        "=cmd|' /C calc'!A0",
        "\u2028line\u2029 separators\x0b and \x1f control",
    ]
    path = tmp_path / "posts.jsonl"
    path.write_text("\n".join(json.dumps({"id": str(i), "text": t}) for i, t in enumerate(texts)))
    out, html_path = tmp_path / "o.jsonl", tmp_path / "o.html"
    completed = gen_msa(
        "explain", path, "-m", "echo", "-o", out, "--csv", tmp_path / "o.csv", "--html", html_path
    )
    assert completed.code == 0
    assert [r["post"]["text"] for r in rows(out.read_text("utf-8"))] == texts
    assert all(r["opinions"] for r in rows(out.read_text("utf-8")))
