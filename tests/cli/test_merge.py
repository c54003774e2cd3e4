"""`--shard`, `--known`, `gen-msa merge` and files elsewhere, as a user calls them."""

import json

import pytest

from gen_msa.data.formats import formats
from tests.fixtures.fake_openai import FakeOpenAI
from tests.fixtures.posts import post, write_posts

PLAIN = ("-r", "echo", "cues={}", "chunk=4")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    write_posts(tmp_path / "posts.jsonl", map(post, range(20)))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def store():
    """A store of fsspec's own, in memory; its posts have a row that is none."""
    fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed")
    system = fsspec.filesystem("memory")
    lines = (post(i).model_dump_json() for i in range(10))
    rows = [json.dumps({"post": json.loads(line)}) for line in lines]
    system.pipe("/in/posts.jsonl", ("\n".join([*rows, "{bad"]) + "\n").encode())
    yield system
    system.rm("/", recursive=True)


def test_a_folder_elsewhere_is_made_when_it_is_not_there(gen_msa, folder):
    pytest.importorskip("fsspec", reason="fsspec is not installed")
    there = folder / "new" / "deep" / "sent.jsonl"
    ran = gen_msa("explain", "posts.jsonl", *PLAIN, "-o", there.as_uri())
    assert ran.code == 0, ran.err
    assert there.read_bytes() == (folder / "sent.jsonl").read_bytes()


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_shards_merge_into_what_one_job_writes(gen_msa, folder, suffix):
    alone, out = f"alone{suffix}", f"o{suffix}"
    assert gen_msa("explain", "posts.jsonl", *PLAIN, "-o", alone).code == 0
    for i in (1, 2):
        ran = gen_msa("explain", "posts.jsonl", *PLAIN, "-o", out, "--shard", f"{i}/2")
        assert ran.code == 0
        assert f"gen-msa merge o.*-of-2.part -o {out}" in ran.err.replace("\n", "")
    merged = gen_msa("merge", "o.2-of-2.part", "o.1-of-2.part", "-o", out)
    assert merged.code == 0, merged.err
    assert "20 of 20 posts, 40 opinions by echo" in merged.err.replace("\n", " ")
    if suffix == ".jsonl":
        assert (folder / out).read_bytes() == (folder / alone).read_bytes()
    else:
        rows = [list(formats["parquet"].read(folder / f)) for f in (out, alone)]
        assert rows[0] == rows[1]
        assert not (folder / "o.jsonl").exists()


def test_a_teacher_in_shards_leaves_its_summary(gen_msa, folder):
    job = ("annotate", "posts.jsonl", *PLAIN, "-p", "teacher/rationale", "gates={novelty: {}}")
    assert gen_msa(*job, "-o", "alone.jsonl").code == 0
    for i in (1, 2, 3):
        assert gen_msa(*job, "-o", "o.jsonl", "--shard", f"{i}/3").code == 0
    merged = gen_msa("merge", *sorted(p.name for p in folder.glob("*.part")), "-o", "o.jsonl")
    assert merged.code == 0, merged.err
    assert "novelty" in merged.err
    assert (folder / "o.jsonl").read_bytes() == (folder / "alone.jsonl").read_bytes()
    said = [json.loads((folder / f"{n}.summary.json").read_text()) for n in ("o", "alone")]
    own = ("seconds", "repeated_posts")
    assert {k: v for k, v in said[0].items() if k not in own} == {
        k: v for k, v in said[1].items() if k not in own
    }


def test_bad_rows_are_the_whole_job_s_to_judge_and_no_shard_is_run_again_for_them(gen_msa, folder):
    with (folder / "posts.jsonl").open("a") as f:
        f.write("{\n")
    for i in (1, 2):
        job = ("explain", "posts.jsonl", *PLAIN, "-o", "o.jsonl", "--shard", f"{i}/2")
        assert gen_msa(*job).code == 0
    assert gen_msa("merge", *map(str, folder.glob("*.part")), "-o", "o.jsonl").code == 3
    assert json.loads((folder / "o.rejected.jsonl").read_text())["line"] == 21


def test_a_shard_that_could_not_ask_exits_with_3_and_is_mended_by_another_run(gen_msa, folder):
    quick = ("cues={}", "chunk=4", "backend.retries=0", "backend.api_key_variable=")
    job = ("explain", "posts.jsonl", *quick, "-o", "o.jsonl", "--shard", "1/1")
    with FakeOpenAI(
        plan=lambda words, attempt: "500" if not attempt and "#7" in words else ""
    ) as s:
        reader = ("-r", f"http:{s.url}#m")
        first = gen_msa(*job, *reader)
        assert first.code == 3
        assert "run again to ask only those" in first.err
        assert gen_msa(*job, *reader).code == 0
    assert gen_msa("merge", "o.1-of-1.part", "-o", "o.jsonl").code == 0


def test_ledgers_merge_and_are_known_to_another_sharding(gen_msa, folder):
    for i in (1, 2):
        gen_msa("explain", "posts.jsonl", *PLAIN, "-o", "o.jsonl", "--shard", f"{i}/2")
    merged = gen_msa("merge", *map(str, folder.glob("*.ledger")), "-o", "all.ledger")
    assert (merged.code, merged.err) == (0, "20 answers in all.ledger\n")
    ran = gen_msa("explain", "posts.jsonl", *PLAIN, "-o", "new.jsonl", "--known", "all.ledger")
    assert "20 posts answered from the ledger" in ran.err
    assert gen_msa("merge", "all.ledger", "-o", "all.ledger").code == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["explain", "tiny", *PLAIN, "--shard", "1/2"], "need -o FILE"),
        (["explain", "tiny", *PLAIN, "--known", "x.ledger"], "need -o FILE"),
        (["explain", "tiny", *PLAIN, "--shard", "3/2", "-o", "o.jsonl"], "1 <= i <= n"),
        (["explain", "tiny", *PLAIN, "--known", "x.ledger", "-o", "o.jsonl"], "is no ledger"),
        (["explain", "tiny", *PLAIN, "--address", "x:1"], "add engine=ray"),
        (["explain", "tiny", *PLAIN, "--engine", "rey"], "engine"),
        (["explain", "tiny", *PLAIN, "--shard", "1/2", "-o", "o.jsonl", "--csv", "x.csv"], "merge"),
        (
            ["explain", "tiny", *PLAIN, "--engine", "ray", "--address", "127.0.0.1:9"],
            "no way to Ray at 127.0.0.1:9",
        ),
        (["merge", "posts.jsonl", "-o", "o.jsonl"], "not a whole part"),
        (["merge", "posts.jsonl", "-o", "o.txt"], "write .jsonl or .parquet"),
        (["explain", "nosuch://x/posts.jsonl", *PLAIN], "cannot be opened"),
        (["explain", "memory://none/posts.jsonl", *PLAIN], "cannot be fetched"),
    ],
)
def test_what_a_user_gets_wrong_is_said_plainly(gen_msa, folder, arguments, said):
    if "://" in arguments[1]:
        pytest.importorskip("fsspec", reason="fsspec is not installed")
    ran = gen_msa(*arguments)
    assert ran.code == 2
    assert said in ran.err
    assert "Traceback" not in ran.err
    assert not (folder / "o.jsonl").exists()


def test_posts_elsewhere_are_fetched_and_what_is_made_is_sent(gen_msa, folder, store):
    url = "memory://in/posts.jsonl"
    ran = gen_msa("explain", url, *PLAIN, "--max-bad", "0.5", "-o", "memory://out/opinions.jsonl")
    assert ran.code == 0, ran.err
    assert store.cat("/out/opinions.jsonl") == (folder / "opinions.jsonl").read_bytes()
    assert json.loads(store.cat("/out/opinions.rejected.jsonl"))["file"] == url
    assert store.exists("/out/opinions.settings.yaml")


def test_shards_meet_in_a_store(gen_msa, folder, store):
    for i in (1, 2):
        ran = gen_msa(
            "explain", "memory://in/posts.jsonl", *PLAIN, "--max-bad", "0.5",
            "-o", "memory://out/o.jsonl", "--shard", f"{i}/2",
        )  # fmt: skip
        assert ran.code == 0, ran.err
        (folder / f"o.{i}-of-2.part").unlink()
    merged = gen_msa("merge", "memory://out/o.*.part", "-o", "memory://out/o.jsonl")
    assert merged.code == 0, merged.err
    assert len(store.cat("/out/o.jsonl").splitlines()) == 10


def test_ledgers_of_one_name_from_two_addresses_are_both_gathered_and_sent(gen_msa, folder, store):
    for half in (0, 1):
        write_posts(folder / "half.jsonl", map(post, range(10 * half, 10 * half + 10)))
        job = ("explain", "half.jsonl", *PLAIN, "-o", f"{half}/o.jsonl")
        assert gen_msa(*job).code == 0
        store.put_file(str(folder / f"{half}/o.ledger"), f"/{half}/o.ledger")
    two = ("memory://0/o.ledger", "memory://1/o.ledger")
    ran = gen_msa("merge", *two, "-o", "memory://gathered/all.ledger")
    assert ran.code == 0, ran.err
    assert "20 answers" in ran.err
    assert store.exists("/gathered/all.ledger")


def test_what_no_longer_lies_beside_an_output_is_removed_elsewhere_too(gen_msa, folder, store):
    job = ("explain", "memory://in/posts.jsonl", *PLAIN, "-o", "memory://out/o.jsonl")
    assert gen_msa(*job, "--max-bad", "0.5").code == 0
    assert store.exists("/out/o.rejected.jsonl")
    store.pipe("/in/posts.jsonl", store.cat("/in/posts.jsonl").replace(b"{bad\n", b""))
    store.pipe("/out/o.else.jsonl", b"not ours")
    ran = gen_msa(*job)
    assert ran.code == 0
    assert "removed memory://" in ran.err
    assert not store.exists("/out/o.rejected.jsonl")
    assert store.exists("/out/o.else.jsonl")
