"""Readers on a Ray cluster: the bytes of one local job, whatever dies."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

# Read when Ray is imported; without a token it makes one and keeps it in the home folder.
os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}
pytest.importorskip("ray", reason="ray is not installed")

from gen_msa.annotation import AnnotateSettings, JobSettings, annotate
from gen_msa.annotation._cluster import deaths
from gen_msa.annotation._crew import Crew
from gen_msa.annotation._desk import Desk, Stop
from gen_msa.annotation.workers import cache_key
from gen_msa.answer_cache import hash_key
from gen_msa.data import open_examples
from gen_msa.errors import UserError
from gen_msa.types import Example
from tests.annotation import ray_doubles
from tests.fixtures.posts import post, write_image, write_posts

pytestmark = pytest.mark.ray
ECHO = JobSettings(model="echo", chunk=3, cues={}, workers=2)
KILLS = int(os.environ.get("GEN_MSA_KILLS", "3"))


@pytest.fixture(scope="module")
def cluster():
    """Two machines, each with room for one reader."""
    import ray
    from ray.cluster_utils import Cluster

    small = {"num_cpus": 1, "object_store_memory": 100 << 20, "include_dashboard": False}
    found = Cluster(initialize_head=True, head_node_args=small)
    ray.init(address=found.address, log_to_driver=False, logging_level="ERROR")
    found.node = found.add_node(**small)
    found.another = lambda: found.add_node(wait=False, **small)
    yield found
    ray.shutdown()
    found.shutdown()


def on(cluster, settings=ECHO, **more):
    return settings.model_copy(update={"engine": "ray", "address": cluster.address, **more})


def test_a_machine_that_is_killed_again_and_again_changes_no_byte(tmp_path, cluster):
    source = open_examples(str(write_posts(tmp_path / "posts.jsonl", map(post, range(240)))))
    with (tmp_path / "posts.jsonl").open("a") as f:
        f.write("{bad\n")
    annotate(source, tmp_path / "whole.jsonl", ECHO)
    chance, killed, written = random.Random(5), [], []
    when = sorted(chance.sample(range(20, 200), KILLS))

    def strike(counts):
        written.append(counts.rows)
        if len(killed) < KILLS and counts.rows >= when[len(killed)]:
            cluster.remove_node(cluster.node, allow_graceful=False)
            killed.append(counts.rows)
            cluster.node = cluster.another()

    settings, out = on(cluster), tmp_path / "ray.jsonl"
    crew = Crew(settings, tmp_path, desk=ray_doubles.Slow)
    ledger = tmp_path / "ray.ledger"
    outcome = annotate(source, out, settings, cache_path=ledger, teacher=crew, on_progress=strike)
    assert len(killed) == KILLS
    assert crew.lost > 0
    assert out.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    rejected = [p.with_suffix(".rejected.jsonl").read_bytes() for p in (out, tmp_path / "whole")]
    assert rejected[0] == rejected[1]
    assert outcome.counts.rows == 241
    assert written == sorted(written)
    cluster.wait_for_nodes()


def test_whatever_takes_a_reader_away_is_its_death_and_no_fault_of_the_job():
    import ray

    gone = ray.exceptions
    for name in ("OutOfMemoryError", "LocalRayletDiedError", "ActorDiedError", "NodeDiedError"):
        assert issubclass(getattr(gone, name), deaths(ray)), name
    assert not issubclass(gone.RayTaskError, deaths(ray))


def test_a_post_that_kills_its_readers_is_set_aside_alone(tmp_path, cluster, caplog):
    path = write_posts(tmp_path / "posts.jsonl", map(post, range(18)))
    settings = on(cluster, workers=1)
    crew = Crew(settings, tmp_path, desk=ray_doubles.Mortal)
    outcome = annotate(open_examples(str(path)), tmp_path / "o.jsonl", settings, teacher=crew)
    (row,) = [json.loads(x) for x in outcome.rejected_file.read_text().splitlines()]
    assert row["line"] == 12
    assert "3 readers died" in row["reason"]
    assert outcome.counts.written == 17
    assert "a reader was lost (ActorDiedError): its posts are asked again" in caplog.text


def test_gates_work_there_as_here(tmp_path, cluster):
    source = open_examples(str(write_posts(tmp_path / "posts.jsonl", map(post, range(20)))))
    gates = {"naming": {}, "novelty": {"most": 0.5}}
    settings = AnnotateSettings(
        model="echo", cues={}, chunk=5, prompt="teacher/rationale", filters=gates
    )
    here = annotate(source, tmp_path / "here.jsonl", settings)
    there = annotate(source, tmp_path / "there.jsonl", on(cluster, settings))
    for suffix in (".jsonl", ".rejected.jsonl"):
        here_, there_ = (tmp_path / n for n in ("here", "there"))
        assert here_.with_suffix(suffix).read_bytes() == there_.with_suffix(suffix).read_bytes()
    left_out = {"seconds"}
    assert here.summary.model_dump(exclude=left_out) == there.summary.model_dump(exclude=left_out)


def test_ray_imported_too_early_is_refused_where_it_would_listen_to_all(tmp_path):
    code = "import ray; from pathlib import Path; from gen_msa.annotation._crew import Crew\n"
    code += "from gen_msa.annotation import JobSettings\n"
    code += "Crew(JobSettings(reader='echo', engine='ray'), Path())"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment | {"PYTHONPATH": str(Path(__file__).parents[2])},
        timeout=60,
    )
    assert "UserError: ray was imported before" in done.stderr


def test_what_a_user_can_mend_is_said_as_here(tmp_path, cluster):
    path = write_posts(tmp_path / "posts.jsonl", [post(0)])
    settings = on(cluster, workers=1, reader="file:gone.jsonl")
    with pytest.raises(UserError, match=r"gone\.jsonl"):
        annotate(open_examples(str(path)), tmp_path / "o.jsonl", settings)


def test_a_desk_that_sees_another_picture_says_so(tmp_path):
    for name, colour in (("here", "red"), ("there", "blue")):
        (tmp_path / name).mkdir()
        write_image(tmp_path / name / "a.png", colour)
    example = Example(post=post(1, images=["a.png"]))
    desk = Desk(ECHO, tmp_path / "there", tmp_path)
    reader = hash_key(desk.open())
    mine = cache_key(reader, example, tmp_path / "there", ECHO)
    assert len(desk.read([example], [mine])) == 1
    said = desk.read([example], [cache_key(reader, example, tmp_path / "here", ECHO)])
    assert isinstance(said, Stop)
    assert "pictures are others or missing" in said.problem
    assert "--media-root" in said.error().hint


def test_a_cluster_of_our_own_listens_on_this_machine_only(tmp_path):
    """In a process of its own: Ray decides when it is imported."""
    write_posts(tmp_path / "posts.jsonl", map(post, range(12)))
    code = (
        "import json, os, psutil; from pathlib import Path\n"
        "from gen_msa.annotation import JobSettings, annotate\n"
        "from gen_msa.data import open_source\n"
        "found = set()\n"
        "def look(_):\n"
        "    me = psutil.Process()\n"
        "    for p in [me, *me.children(recursive=True)]:\n"
        "        found.update(c.laddr.ip for c in p.net_connections() if c.status == 'LISTEN')\n"
        "s = JobSettings(reader='echo', cues={}, engine='ray', workers=2, chunk=4)\n"
        "for out in ('first.jsonl', 'o.jsonl'):\n"
        "    annotate(open_source('posts.jsonl'), Path(out), s, on_progress=look)\n"
        "seen = {k: os.environ[k][:5] for k in os.environ if k.startswith('RAY_')}\n"
        "print(json.dumps([sorted(found), seen]))\n"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    addresses, seen = json.loads(done.stdout.splitlines()[-1])
    assert addresses
    assert {a.removeprefix("::ffff:") for a in addresses} == {"127.0.0.1"}
    assert seen["RAY_USAGE_STATS_ENABLED"] == "0"
    assert seen["RAY_AUTH_MODE"] == "token"
    assert len((tmp_path / "o.jsonl").read_text().splitlines()) == 12
