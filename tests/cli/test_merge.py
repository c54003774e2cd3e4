"""`--shard`, `--reuse-cache`, `gen-msa merge` and remote files on the command line."""

import json

import pytest

from gen_msa.data.formats import formats
from tests.fixtures.fake_openai import FakeOpenAI
from tests.fixtures.posts import post, write_posts

PLAIN = ("-m", "echo", "cues={}", "chunk=4")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    write_posts(tmp_path / "posts.jsonl", map(post, range(20)))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def store():
    """Yield fsspec's in-memory file system with ten posts and one invalid row."""
    fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed")
    filesystem = fsspec.filesystem("memory")
    lines = (post(i).model_dump_json() for i in range(10))
    rows = [json.dumps({"post": json.loads(line)}) for line in lines]
    filesystem.pipe("/in/posts.jsonl", ("\n".join([*rows, "{bad"]) + "\n").encode())
    yield filesystem
    filesystem.rm("/", recursive=True)


def test_missing_remote_folder_is_created(gen_msa, folder):
    pytest.importorskip("fsspec", reason="fsspec is not installed")
    target = folder / "new" / "deep" / "sent.jsonl"
    completed = gen_msa("explain", "posts.jsonl", *PLAIN, "-o", target.as_uri())
    assert completed.code == 0, completed.err
    assert target.read_bytes() == (folder / "sent.jsonl").read_bytes()


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_shards_merge_into_the_output_of_one_job(gen_msa, folder, suffix):
    single, out = f"alone{suffix}", f"o{suffix}"
    assert gen_msa("explain", "posts.jsonl", *PLAIN, "-o", single).code == 0
    for i in (1, 2):
        completed = gen_msa("explain", "posts.jsonl", *PLAIN, "-o", out, "--shard", f"{i}/2")
        assert completed.code == 0
        assert f"gen-msa merge o.*-of-2.part -o {out}" in completed.err.replace("\n", "")
    merged = gen_msa("merge", "o.2-of-2.part", "o.1-of-2.part", "-o", out)
    assert merged.code == 0, merged.err
    assert "20 of 20 posts, 40 opinions by echo" in merged.err.replace("\n", " ")
    if suffix == ".jsonl":
        assert (folder / out).read_bytes() == (folder / single).read_bytes()
    else:
        rows = [list(formats["parquet"].read(folder / f)) for f in (out, single)]
        assert rows[0] == rows[1]
        assert not (folder / "o.jsonl").exists()


def test_annotate_shards_merge_with_their_summary(gen_msa, folder):
    job = (
        "annotate",
        "posts.jsonl",
        *PLAIN,
        "-p",
        "teacher/rationale",
        "filters={near_duplicate: {}}",
    )
    assert gen_msa(*job, "-o", "alone.jsonl").code == 0
    for i in (1, 2, 3):
        assert gen_msa(*job, "-o", "o.jsonl", "--shard", f"{i}/3").code == 0
    merged = gen_msa("merge", *sorted(p.name for p in folder.glob("*.part")), "-o", "o.jsonl")
    assert merged.code == 0, merged.err
    assert "near_duplicate" in merged.err
    assert (folder / "o.jsonl").read_bytes() == (folder / "alone.jsonl").read_bytes()
    summaries = [json.loads((folder / f"{n}.summary.json").read_text()) for n in ("o", "alone")]
    volatile = ("seconds", "cached_posts")
    assert {k: v for k, v in summaries[0].items() if k not in volatile} == {
        k: v for k, v in summaries[1].items() if k not in volatile
    }


def test_error_rate_is_checked_at_merge_not_per_shard(gen_msa, folder):
    with (folder / "posts.jsonl").open("a") as f:
        f.write("{\n")
    for i in (1, 2):
        job = ("explain", "posts.jsonl", *PLAIN, "-o", "o.jsonl", "--shard", f"{i}/2")
        assert gen_msa(*job).code == 0
    assert gen_msa("merge", *map(str, folder.glob("*.part")), "-o", "o.jsonl").code == 3
    assert json.loads((folder / "o.rejected.jsonl").read_text())["line"] == 21


def test_shard_with_unanswered_requests_exits_with_3_until_rerun(gen_msa, folder):
    options = ("cues={}", "chunk=4", "backend.retries=0", "backend.api_key_variable=")
    job = ("explain", "posts.jsonl", *options, "-o", "o.jsonl", "--shard", "1/1")
    with FakeOpenAI(
        plan=lambda text, attempt: "500" if not attempt and "#7" in text else ""
    ) as server:
        model_option = ("-m", f"http:{server.url}#m")
        first = gen_msa(*job, *model_option)
        assert first.code == 3
        assert "run again to retry only those" in first.err
        assert gen_msa(*job, *model_option).code == 0
    assert gen_msa("merge", "o.1-of-1.part", "-o", "o.jsonl").code == 0


def test_caches_merge_and_are_reused_by_another_shard_count(gen_msa, folder):
    for i in (1, 2):
        gen_msa("explain", "posts.jsonl", *PLAIN, "-o", "o.jsonl", "--shard", f"{i}/2")
    merged = gen_msa("merge", *map(str, folder.glob("*.cache")), "-o", "all.cache")
    assert (merged.code, merged.err) == (0, "20 answers in all.cache\n")
    completed = gen_msa(
        "explain", "posts.jsonl", *PLAIN, "-o", "new.jsonl", "--reuse-cache", "all.cache"
    )
    assert "20 posts answered from the cache" in completed.err
    assert gen_msa("merge", "all.cache", "-o", "all.cache").code == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["explain", "tiny", *PLAIN, "--shard", "1/2"], "need -o FILE"),
        (["explain", "tiny", *PLAIN, "--reuse-cache", "x.cache"], "need -o FILE"),
        (["explain", "tiny", *PLAIN, "--shard", "3/2", "-o", "o.jsonl"], "1 <= i <= n"),
        (
            ["explain", "tiny", *PLAIN, "--reuse-cache", "x.cache", "-o", "o.jsonl"],
            "is not an answer cache",
        ),
        (["explain", "tiny", *PLAIN, "--address", "x:1"], "need engine=ray"),
        (["explain", "tiny", *PLAIN, "--engine", "rey"], "engine"),
        (["explain", "tiny", *PLAIN, "--shard", "1/2", "-o", "o.jsonl", "--csv", "x.csv"], "merge"),
        (
            ["explain", "tiny", *PLAIN, "--engine", "ray", "--address", "127.0.0.1:9"],
            "no connection to Ray at 127.0.0.1:9",
        ),
        (["merge", "posts.jsonl", "-o", "o.jsonl"], "not a complete part"),
        (["merge", "posts.jsonl", "-o", "o.txt"], "must end in .jsonl, .parquet or .cache"),
        (["explain", "nosuch://x/posts.jsonl", *PLAIN], "cannot be opened"),
        (["explain", "memory://none/posts.jsonl", *PLAIN], "cannot be downloaded"),
    ],
)
def test_user_error_is_reported_without_traceback(gen_msa, folder, arguments, message):
    if "://" in arguments[1]:
        pytest.importorskip("fsspec", reason="fsspec is not installed")
    completed = gen_msa(*arguments)
    assert completed.code == 2
    assert message in completed.err
    assert "Traceback" not in completed.err
    assert not (folder / "o.jsonl").exists()


def test_remote_posts_are_fetched_and_outputs_are_sent(gen_msa, folder, store):
    url = "memory://in/posts.jsonl"
    completed = gen_msa(
        "explain", url, *PLAIN, "--max-error-rate", "0.5", "-o", "memory://out/opinions.jsonl"
    )
    assert completed.code == 0, completed.err
    assert store.cat("/out/opinions.jsonl") == (folder / "opinions.jsonl").read_bytes()
    assert json.loads(store.cat("/out/opinions.rejected.jsonl"))["file"] == url
    assert store.exists("/out/opinions.settings.yaml")


def test_shards_meet_in_a_remote_store(gen_msa, folder, store):
    for i in (1, 2):
        completed = gen_msa(
            "explain", "memory://in/posts.jsonl", *PLAIN, "--max-error-rate", "0.5",
            "-o", "memory://out/o.jsonl", "--shard", f"{i}/2",
        )  # fmt: skip
        assert completed.code == 0, completed.err
        (folder / f"o.{i}-of-2.part").unlink()
    merged = gen_msa("merge", "memory://out/o.*.part", "-o", "memory://out/o.jsonl")
    assert merged.code == 0, merged.err
    assert len(store.cat("/out/o.jsonl").splitlines()) == 10


def test_caches_of_same_name_from_two_addresses_are_merged(gen_msa, folder, store):
    for half in (0, 1):
        write_posts(folder / "half.jsonl", map(post, range(10 * half, 10 * half + 10)))
        job = ("explain", "half.jsonl", *PLAIN, "-o", f"{half}/o.jsonl")
        assert gen_msa(*job).code == 0
        store.put_file(str(folder / f"{half}/o.cache"), f"/{half}/o.cache")
    cache_urls = ("memory://0/o.cache", "memory://1/o.cache")
    completed = gen_msa("merge", *cache_urls, "-o", "memory://gathered/all.cache")
    assert completed.code == 0, completed.err
    assert "20 answers" in completed.err
    assert store.exists("/gathered/all.cache")


def test_stale_files_beside_remote_output_are_removed(gen_msa, folder, store):
    job = ("explain", "memory://in/posts.jsonl", *PLAIN, "-o", "memory://out/o.jsonl")
    assert gen_msa(*job, "--max-error-rate", "0.5").code == 0
    assert store.exists("/out/o.rejected.jsonl")
    store.pipe("/in/posts.jsonl", store.cat("/in/posts.jsonl").replace(b"{bad\n", b""))
    store.pipe("/out/o.else.jsonl", b"not ours")
    completed = gen_msa(*job)
    assert completed.code == 0
    assert "removed memory://" in completed.err
    assert not store.exists("/out/o.rejected.jsonl")
    assert store.exists("/out/o.else.jsonl")
