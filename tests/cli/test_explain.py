"""`gen-msa explain` as a user calls it, with the shipped fake."""

import csv
import json

import pytest

from gen_msa.data.formats import formats
from tests.fixtures.posts import post, write_picture, write_posts


def rows(text):
    return [json.loads(line) for line in text.split("\n") if line]


def test_text_that_is_no_unicode_is_refused_plainly(gen_msa):
    ran = gen_msa("explain", "--text", "caf\udce9 was great", "--reader", "echo")
    assert ran.code == 2
    assert "text: character 3 is half a character" in ran.err.replace("\n", " ")
    assert "UTF-8" in ran.err


def test_one_post_from_the_command_line(gen_msa, tmp_path):
    picture = write_picture(tmp_path / "a.jpg")
    text = "Battery died, but the screen is lovely"
    ran = gen_msa(
        "explain", "--text", text, "--image", picture, "--aspect", "screen", "--aspect", "Battery",
        "--reader", "echo",
    )  # fmt: skip
    assert ran.code == 0
    (row,) = rows(ran.out)
    assert row["post"]["media"][0]["path"] == "a.jpg"
    assert [o["aspect"] for o in row["opinions"]] == [
        {"term": "screen", "start": 22},
        {"term": "Battery", "start": 0},
    ]


def test_overall_reads_the_post_whole(gen_msa):
    ran = gen_msa("explain", "--text", "What a day", "--overall", "-r", "echo")
    assert [o["aspect"]["term"] for o in rows(ran.out)[0]["opinions"]] == [""]


def test_all_outputs_of_one_job_hold_the_same_opinions(gen_msa, tmp_path):
    path = write_posts(tmp_path / "posts.jsonl", map(post, range(12)))
    out, table, page = (tmp_path / n for n in ("o.parquet", "o.csv", "o.html"))
    ran = gen_msa("explain", path, "-r", "echo", "-o", out, "--csv", table, "--html", page)
    assert ran.code == 0
    assert ran.out == ""
    examples = list(formats["parquet"].read(out))
    assert [e.post.id for e in examples] == [f"p{i}" for i in range(12)]
    with table.open(encoding="utf-8-sig", newline="") as f:
        assert len(list(csv.DictReader(f))) == sum(len(e.opinions) for e in examples) == 24
    assert page.read_text("utf-8").count("p11")
    assert not (tmp_path / "o.jsonl").exists()
    assert f"wrote {out}" in ran.err.replace("\n", "")


def test_too_many_bad_rows_exit_with_3_and_are_named(gen_msa, tmp_path):
    path = write_posts(tmp_path / "posts.jsonl", map(post, range(5)))
    with path.open("a") as f:
        f.write("{\n")
    ran = gen_msa("explain", path, "-r", "echo", "-o", tmp_path / "o.jsonl")
    assert ran.code == 3
    assert "1 rows set aside with reasons in" in ran.err
    lenient = gen_msa("explain", path, "-r", "echo", "--max-bad", "0.5")
    assert lenient.code == 0
    assert len(rows(lenient.out)) == 5
    assert gen_msa("explain", path, "-r", "echo", "--max-bad", "0.5", "--strict").code == 3


def test_settings_come_from_yaml_and_key_value(gen_msa, tmp_path):
    config = tmp_path / "c.yaml"
    config.write_text("reader: echo\nprompt: reader/plain\n")
    out = tmp_path / "o.jsonl"
    gen_msa("explain", "tiny", "--config", config, "limit=3", "cues={}", "-o", out)
    said = [o for row in rows(out.read_text("utf-8")) for o in row["opinions"] if o["by"] == "echo"]
    assert {o["how"]["prompt"].partition("@")[0] for o in said} == {"reader/plain"}
    assert len(out.read_text("utf-8").splitlines()) == 3


def test_parquet_leaves_every_file_that_is_not_its_own(gen_msa, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_posts(tmp_path / "posts.jsonl", map(post, range(3)))
    kept = {"posts.jsonl": (tmp_path / "posts.jsonl").read_bytes(), "keep.jsonl": b"mine"}
    (tmp_path / "keep.jsonl").write_bytes(kept["keep.jsonl"])
    for out in ("posts.parquet", "keep.parquet"):
        assert gen_msa("explain", "posts.jsonl", "-r", "echo", "-o", out).code == 0
        assert len(list(formats["parquet"].read(tmp_path / out))) == 3
    assert {n: (tmp_path / n).read_bytes() for n in kept} == kept
    assert not list(tmp_path.glob(".*"))
    assert (tmp_path / "keep.settings.yaml").is_file()


@pytest.mark.parametrize("option", ["-o", "--csv"])
def test_posts_are_not_written_over_while_they_are_read(gen_msa, tmp_path, option):
    path = write_posts(tmp_path / "posts.jsonl", [post(0)])
    before = path.read_bytes()
    (tmp_path / "x").mkdir()
    ran = gen_msa("explain", path, "-r", "echo", option, tmp_path / "x" / ".." / "posts.jsonl")
    assert ran.code == 2
    assert "would be read and written over" in ran.err
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["no_such_file.jsonl"], "neither a file nor a dataset"),
        (["tiny:dev"], "tiny has no split 'dev'"),
        ([], "nothing to read"),
        (["tiny", "readr=echo"], "did you mean 'reader'"),
        (["tiny", "--reader", "ecco"], "did you mean 'echo'"),
        (["tiny", "--reader", "echo", "--prompt", "reader/fulll"], "did you mean 'reader/full'"),
        (["tiny", "--reader", "echo", "-o", "x.txt"], "write .jsonl or .parquet"),
        (["tiny", "--text", "x"], "exclude each other"),
    ],
)
def test_what_a_user_gets_wrong_is_said_plainly(gen_msa, arguments, said):
    ran = gen_msa("explain", *arguments)
    assert ran.code == 2
    assert said in ran.err
    assert "Traceback" not in ran.err


def test_strange_posts_come_through_whole(gen_msa, tmp_path):
    strange = [
        "",
        "x" * 100_000,
        "a literal <image> and <|im_end|> and $T$ and {{7*7}}",
        "🙂🏽 family 👨‍👩‍👧 flags 🇪🇺",
        "الخدمة ممتازة لكن الطعام بارد",
        "服务很好,但是菜冷了",
        "=cmd|' /C calc'!A0",
        "\u2028line\u2029 separators\x0b and \x1f control",
    ]
    path = tmp_path / "posts.jsonl"
    path.write_text("\n".join(json.dumps({"id": str(i), "text": t}) for i, t in enumerate(strange)))
    out, page = tmp_path / "o.jsonl", tmp_path / "o.html"
    ran = gen_msa(
        "explain", path, "-r", "echo", "-o", out, "--csv", tmp_path / "o.csv", "--html", page
    )
    assert ran.code == 0
    assert [r["post"]["text"] for r in rows(out.read_text("utf-8"))] == strange
    assert all(r["opinions"] for r in rows(out.read_text("utf-8")))
