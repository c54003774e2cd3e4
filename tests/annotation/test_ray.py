"""A job on a Ray cluster: the bytes of one local job, whatever dies."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq
import pytest

# Read when Ray is imported; without a token it makes one and keeps it in the home folder. Workers
# run at niceness 15 by default: beside other tests they would take minutes to start.
os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}
os.environ |= {"RAY_worker_niceness": "0"}
pytest.importorskip("ray", reason="ray is not installed")

from gen_msa.annotation import (
    AnnotateSettings,
    JobSettings,
    Shard,
    annotate,
    annotate_shard,
    make_job_teacher,
    merge_shards,
)
from gen_msa.annotation.ray_cluster import RayPredictor
from gen_msa.annotation.ray_worker import THREADS
from gen_msa.data import open_examples
from gen_msa.errors import BackendUnavailable, UserError
from tests.annotation import ray_doubles
from tests.annotation.test_kill import count_cached
from tests.fixtures.fake_openai import FakeOpenAI, last_message_text
from tests.fixtures.posts import post, write_image, write_posts

pytestmark = [pytest.mark.ray, pytest.mark.timeout(1800)]  # a machine may be busy
ECHO = JobSettings(model="echo", chunk=3, cues={}, workers=2)
KILLS = int(os.environ.get("GEN_MSA_KILLS", "3"))
POSTS, CHUNK, ASPECTS = 240, 4, 2


@pytest.fixture(scope="module")
def cluster():
    """Two machines, each with room for one worker."""
    import ray
    from ray.cluster_utils import Cluster

    small = {"num_cpus": 1, "object_store_memory": 100 << 20, "include_dashboard": False}
    nodes = Cluster(initialize_head=True, head_node_args=small)
    ray.init(address=nodes.address, log_to_driver=False, logging_level="ERROR")
    nodes.node = nodes.add_node(**small)
    nodes.another = lambda: nodes.add_node(wait=False, **small)
    yield nodes
    ray.shutdown()
    nodes.shutdown()


def on_cluster(cluster, settings=ECHO, **more):
    return settings.model_copy(update={"engine": "ray", "address": cluster.address, **more})


def http_settings(server, **more):
    """Settings of a job that asks a server."""
    backend = {"api_key_variable": "", "batch_size": 2}
    fields = {"model": f"http:{server.url}#m", "cues": {}, "chunk": CHUNK, "reask_prompt": ""}
    return JobSettings.model_validate({**fields, "backend": backend, **more})


def own_cluster_environment():
    """Return the environment of a process that starts a cluster of its own."""
    variables = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    return variables | {"RAY_worker_niceness": "0", "PYTHONPATH": str(Path(__file__).parents[2])}


def source_of(folder, count=POSTS):
    """Posts, a line that is none, and one whose id was there before."""
    path = write_posts(folder / "posts.jsonl", map(post, range(count)))
    first = path.read_text().splitlines()[0]
    with path.open("a") as f:
        f.write(f"{{bad\n{first}\n")
    return open_examples(str(path))


def files_of(out):
    return [out.with_suffix(suffix).read_bytes() for suffix in (".jsonl", ".rejected.jsonl")]


def questions(server):
    """Return question -> how often the server was asked it; the server forgets them."""
    with server.lock:
        counts = Counter(last_message_text(body) for body in server.request_bodies)
        server.request_bodies.clear()
    return counts


def assert_repeats_only_in_flight(requests, expected, in_flight):
    """Check that the same questions were sent, and that repeats were in flight at most."""
    assert requests.keys() == expected.keys()
    assert sum(requests.values()) - len(requests) <= in_flight


def checkpointed(out):
    """Posts of batches that are in Ray Data's checkpoint."""
    folder = out.with_suffix(".ray") / "checkpoint"
    files = [f for f in folder.glob("*.parquet") if ".pending." not in f.name]
    return CHUNK * sum(pq.read_metadata(f).num_rows for f in files)


def reached(server, count):
    return len(server.request_bodies) >= count


def wait_for(condition, seconds=400):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_killed_nodes_change_no_byte_and_repeat_only_requests_in_flight(tmp_path, cluster):
    source, out, killed = source_of(tmp_path), tmp_path / "ray.jsonl", []
    with FakeOpenAI(delay_s=0.02) as server:
        local = annotate(source, tmp_path / "local.jsonl", http_settings(server))
        expected = questions(server)
        when = [POSTS * (i + 1) // (KILLS + 2) for i in range(KILLS)]

        def kill(counts):
            if len(killed) < KILLS and counts.rows >= when[len(killed)]:
                cluster.remove_node(cluster.node, allow_graceful=False)
                killed.append(counts.rows)
                cluster.node = cluster.another()

        settings, cache = (
            on_cluster(cluster, http_settings(server, workers=2)),
            tmp_path / "ray.cache",
        )
        outcome = annotate(source, out, settings, cache_path=cache, on_progress=kill)
        requests = questions(server)
    assert len(killed) == KILLS
    assert files_of(out) == files_of(tmp_path / "local.jsonl")
    assert outcome.counts == local.counts
    assert_repeats_only_in_flight(requests, expected, KILLS * THREADS * CHUNK * ASPECTS)
    assert not cache.with_suffix(".ray").exists()
    cluster.wait_for_nodes()


def test_cluster_that_shrinks_to_one_worker_finishes(tmp_path, cluster, caplog):
    source, killed = source_of(tmp_path), []
    annotate(source, tmp_path / "local.jsonl", ECHO)

    def kill(counts):
        if not killed and counts.rows >= 30:
            cluster.remove_node(cluster.node, allow_graceful=False)
            killed.append(counts.rows)

    annotate(source, tmp_path / "ray.jsonl", on_cluster(cluster), on_progress=kill)
    cluster.node = cluster.another()
    assert files_of(tmp_path / "ray.jsonl") == files_of(tmp_path / "local.jsonl")
    cluster.wait_for_nodes()


def test_restarted_driver_repeats_only_requests_in_flight(tmp_path):
    """On a cluster of its own, which ends with the driver."""
    source, out = source_of(tmp_path), tmp_path / "ray.jsonl"
    with FakeOpenAI(delay_s=0.05) as server:
        local = http_settings(server)
        annotate(source, tmp_path / "local.jsonl", local)
        expected, requests, behind = questions(server), Counter(), []
        options = ["cues={}", f"chunk={CHUNK}", "reask_prompt=", "workers=2", "--engine", "ray"]
        options += ["backend.api_key_variable=", "backend.batch_size=2", "-m", local.model]
        command = [sys.executable, "-m", "gen_msa", "explain", str(tmp_path / "posts.jsonl")]
        environment = own_cluster_environment()
        start = [*command, "-o", str(out), *options]
        for i in range(KILLS):
            job = subprocess.Popen(start, env=environment, stderr=subprocess.DEVNULL)
            share = len(expected) * (i + 1) // (KILLS + 1)
            try:
                wait_for(partial(reached, server, share - sum(requests.values())))
            finally:
                job.send_signal(signal.SIGKILL)
            assert job.wait() == -signal.SIGKILL
            assert not out.exists()
            behind.append(count_cached(out.with_suffix(".cache")) - checkpointed(out))
            wait_for(lambda: server.running == 0)
            time.sleep(2)  # its workers end with it
            requests += questions(server)
        ended = subprocess.run(start, env=environment, capture_output=True, text=True, timeout=600)
        requests += questions(server)
    assert ended.returncode in (0, 3), ended.stderr
    assert "posts answered from the cache" in ended.stderr
    assert files_of(out) == files_of(tmp_path / "local.jsonl")
    assert_repeats_only_in_flight(requests, expected, KILLS * 2 * THREADS * CHUNK * ASPECTS)
    assert not out.with_suffix(".ray").exists()
    # Why there is an answer cache: Ray Data's checkpoint holds only complete blocks.
    assert max(behind) > 0
    assert min(behind) >= 0


def test_post_that_kills_workers_is_rejected_alone(tmp_path, cluster, caplog):
    path = write_posts(tmp_path / "posts.jsonl", map(post, range(18)))
    settings = on_cluster(cluster, workers=1)
    model = RayPredictor(settings, tmp_path, worker=ray_doubles.DyingWorker)
    outcome = annotate(open_examples(str(path)), tmp_path / "o.jsonl", settings, teacher=model)
    (row,) = [json.loads(x) for x in outcome.rejected_file.read_text().splitlines()]
    assert row["line"] == 12
    assert "3 workers died" in row["reason"]
    assert outcome.counts.written == 17
    assert "lost; their posts are read again" in caplog.text


def test_ray_data_alone_drops_the_block_of_a_row_that_kills_its_worker(cluster):
    """Why the job's state counts deaths: by default Ray Data would retry such a block for ever."""
    import ray

    with ray.data.DataContext.current(ray.data.DataContext.get_current().copy()) as _:
        context = ray.data.DataContext.get_current()
        context.max_errored_blocks = -1
        rows = ray.data.from_items([{"row": i} for i in range(12)], override_num_blocks=3)
        pool = ray.data.ActorPoolStrategy(size=1)
        surviving = rows.map_batches(
            ray_doubles.DyingStep, batch_size=None, compute=pool, max_task_retries=1, num_cpus=1
        )
        survivors = {r["row"] for r in surviving.iter_rows()}
        # The harmless rows 4, 6 and 7 are lost with row 5. Blocks are lost whole; one that waited
        # at the same worker may be lost as well.
        assert not survivors & {4, 5, 6, 7}
        assert all(
            block <= survivors or not block & survivors for block in ({0, 1, 2, 3}, {8, 9, 10, 11})
        )


def test_worker_prefetches_the_next_batch(tmp_path, cluster):
    path = write_posts(tmp_path / "posts.jsonl", map(post, range(6)))
    settings = on_cluster(cluster, workers=1)
    model = RayPredictor(settings, tmp_path, worker=ray_doubles.WaitingWorker)
    annotate(open_examples(str(path)), tmp_path / "o.jsonl", settings, teacher=model)
    assert (tmp_path / "waited").read_text() == "True"


def test_worker_with_a_different_image_stops_the_job(tmp_path, cluster):
    for name, colour in (("here", "red"), ("there", "blue")):
        (tmp_path / name).mkdir()
        write_image(tmp_path / name / "a.png", colour)
    path = write_posts(tmp_path / "here" / "posts.jsonl", [post(1, images=["a.png"])])
    settings = on_cluster(cluster, workers=1)
    model = RayPredictor(settings, tmp_path / "there")
    with pytest.raises(UserError, match="images are others or missing") as error:
        annotate(open_examples(str(path)), tmp_path / "o.jsonl", settings, teacher=model)
    assert "--media-root" in error.value.hint


def test_filters_give_the_same_files_as_locally(tmp_path, cluster):
    source = source_of(tmp_path, 20)
    filters = {"mentions_aspect": {}, "near_duplicate": {"max_similarity": 0.5}}
    settings = AnnotateSettings(
        model="echo", cues={}, chunk=5, prompt="teacher/rationale", filters=filters
    )
    here = annotate(source, tmp_path / "here.jsonl", settings)
    there = annotate(source, tmp_path / "there.jsonl", on_cluster(cluster, settings))
    assert files_of(tmp_path / "here.jsonl") == files_of(tmp_path / "there.jsonl")
    left_out = {"seconds"}
    assert here.summary.model_dump(exclude=left_out) == there.summary.model_dump(exclude=left_out)


def test_shard_can_run_on_a_cluster(tmp_path, cluster):
    source, parts = source_of(tmp_path, 20), []
    annotate(source, tmp_path / "local.jsonl", ECHO)
    for i, settings in enumerate((ECHO, on_cluster(cluster)), 1):
        parts.append(tmp_path / f"{i}.part")
        annotate_shard(source, parts[-1], Shard(i, 2), settings)
    merge_shards(parts, tmp_path / "merged.jsonl")
    assert files_of(tmp_path / "merged.jsonl") == files_of(tmp_path / "local.jsonl")


def test_probe_worker_answers_before_the_job(tmp_path, cluster):
    settings = on_cluster(cluster, workers=2)
    source = source_of(tmp_path, 1)
    (example, *_) = source.rows()
    with RayPredictor(settings, tmp_path) as model:
        assert model.fingerprint() == make_job_teacher(source, ECHO).fingerprint()
        assert "screen" in model.preview([example])[0].prompt
        assert len(model.predict([example])[0].opinions) == 2


def test_unavailable_server_stops_the_job_early(tmp_path, cluster):
    path = write_posts(tmp_path / "posts.jsonl", map(post, range(POSTS)))
    with FakeOpenAI(plan=lambda words, attempt: "400") as server:
        settings = on_cluster(cluster, http_settings(server))
        with pytest.raises(UserError, match="got an answer") as error:
            annotate(open_examples(str(path)), tmp_path / "o.jsonl", settings)
        assert len(server.request_bodies) < POSTS
    assert not isinstance(error.value, BackendUnavailable)


def test_user_errors_are_raised_as_locally(tmp_path, cluster):
    path = write_posts(tmp_path / "posts.jsonl", [post(0)])
    settings = on_cluster(cluster, workers=1, model="recorded:gone.jsonl")
    with pytest.raises(UserError, match=r"gone\.jsonl"):
        annotate(open_examples(str(path)), tmp_path / "o.jsonl", settings)


def test_ray_imported_too_early_is_refused(tmp_path):
    code = "import ray; from pathlib import Path; from gen_msa.annotation import JobSettings\n"
    code += "from gen_msa.annotation.ray_cluster import RayPredictor\n"
    code += "RayPredictor(JobSettings(model='echo', engine='ray'), Path())"
    environment = own_cluster_environment()
    ended = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
        timeout=300,
    )
    assert "UserError: ray was imported before" in ended.stderr


def test_own_cluster_listens_on_loopback_only(tmp_path):
    """In a process of its own: Ray decides when it is imported."""
    write_posts(tmp_path / "posts.jsonl", map(post, range(12)))
    code = (
        "import json, os, psutil; from contextlib import suppress; from pathlib import Path\n"
        "from gen_msa.annotation import JobSettings, annotate\n"
        "from gen_msa.data import open_examples\n"
        "addresses = set()\n"
        "def look(_):\n"
        "    me = psutil.Process()\n"
        "    for p in [me, *me.children(recursive=True)]:\n"
        "        with suppress(psutil.NoSuchProcess):\n"
        "            sockets = [c for c in p.net_connections() if c.status == 'LISTEN']\n"
        "            addresses.update(c.laddr.ip for c in sockets)\n"
        "s = JobSettings(model='echo', cues={}, engine='ray', workers=2, chunk=4)\n"
        "for out in ('first.jsonl', 'o.jsonl'):\n"
        "    annotate(open_examples('posts.jsonl'), Path(out), s, on_progress=look)\n"
        "variables = {k: os.environ[k][:5] for k in os.environ if k.startswith('RAY_')}\n"
        "print(json.dumps([sorted(addresses), variables]))\n"
    )
    environment = own_cluster_environment()
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    addresses, seen = json.loads(done.stdout.splitlines()[-1])
    assert addresses
    assert {a.removeprefix("::ffff:") for a in addresses} == {"127.0.0.1"}
    assert seen["RAY_USAGE_STATS_ENABLED"] == "0"
    assert seen["RAY_AUTH_MODE"] == "token"
    assert len((tmp_path / "o.jsonl").read_text().splitlines()) == 12
