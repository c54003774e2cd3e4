"""What `deploy/` starts is what gen_msa takes: commands, ports, images, probes; closed and bounded.

Dry: nothing is built and no cluster is asked; manifests are held to Kubernetes' own schemas.
"""

import json
import re
import shlex
import tomllib
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

import gen_msa
from gen_msa.annotating import Shard
from gen_msa.serving import ServeSettings
from gen_msa.serving.vllm import VllmSettings
from gen_msa.settings import load

ROOT = Path(gen_msa.__file__).parent.parent
DEPLOY = ROOT / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
DOCUMENTS = [
    d for p in sorted((DEPLOY / "kubernetes").glob("*.yaml")) for d in yaml.safe_load_all(p.open())
]
WORKLOADS = {
    d["metadata"]["name"]: d["spec"]["template"]["spec"]
    for d in DOCUMENTS
    if d["kind"] in ("Deployment", "Job")
}
JOBS = {d["metadata"]["name"]: d["spec"] for d in DOCUMENTS if d["kind"] == "Job"}
SERVERS = [n for n in WORKLOADS if n not in JOBS]
MERGED = "{}.*-of-4.part"
LEAK = re.compile(r"(token|key|password|secret)\w*\s*[:=]\s*[\"']?[\w-]{16,}", re.IGNORECASE)
STAGES = re.findall(r"^FROM \S+ AS (\w+)$", DOCKERFILE, re.MULTILINE)


def settings(words):
    """Of a `serve` command."""
    command, reader, *given = words
    assert command == "serve"
    kind = VllmSettings if reader.startswith("vllm:") else ServeSettings
    return load(kind, overrides=[*given, f"reader={reader}"])


def container(name):
    (only,) = WORKLOADS[name]["containers"]
    return only


def stage(name):
    return re.split(r"^FROM ", DOCKERFILE, flags=re.MULTILINE)[1 + STAGES.index(name)]


@pytest.mark.parametrize("name", ["cpu", "cuda"])
def test_an_image_s_own_command_is_one_of_ours_on_its_own_port_and_not_as_root(name):
    text = stage(name)
    made = settings(json.loads(re.search(r"^CMD (.+)$", text, re.MULTILINE)[1]))
    assert f"EXPOSE {made.port}" in text
    assert made.token_file
    assert re.search(r"^USER [1-9]\d*:", text, re.MULTILINE)
    assert 'ENTRYPOINT ["gen-msa"]' in text


def test_images_install_extras_that_exist_and_copy_nothing_but_what_a_wheel_needs():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    named = re.findall(r"\.whl\)\[([\w,]+)\]", DOCKERFILE)
    assert named
    assert set(",".join(named).split(",")) <= set(extras)
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().split()
    assert ignored[0] == "**"
    kept = [x[1:] for x in ignored if x.startswith("!")]
    assert all((ROOT / name).exists() for name in kept)
    included = project["tool"]["hatch"]["build"]
    needed = included["targets"]["wheel"]["force-include"]
    assert all(any(n.split("/")[0] == k for k in kept) for n in needed)


@pytest.mark.parametrize("name", ["service", "vllm"])
def test_a_service_of_the_compose_file_is_closed_and_healthy_on_its_own_port(name):
    service = COMPOSE["services"][name]
    made = settings(service["command"])
    assert service["image"] == f"gen-msa:{service['build']['target']}"
    assert service["build"]["target"] in STAGES
    assert (DEPLOY / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
    assert service["ports"] == [f"127.0.0.1:{made.port}:{made.port}"]
    asked = service["healthcheck"]["test"]
    if name == "vllm":
        assert asked == ["CMD", "test", "-f", made.ready_file]
    else:
        assert f":{made.port}/healthz'" in asked[-1]
    assert made.token_file == f"/run/secrets/{service['secrets'][0]}"
    assert service["read_only"] is True
    assert not service["user"].startswith("0")
    assert service["cap_drop"] == ["ALL"]
    assert service["mem_limit"]
    stop = made.limits.stop_seconds if name == "service" else made.stop_seconds
    assert int(service["stop_grace_period"].rstrip("s")) > stop


@pytest.mark.parametrize("name", SERVERS)
def test_a_server_s_port_is_that_of_its_container_its_service_and_its_probes(name):
    it = container(name)
    made = settings(it["args"])
    assert it["ports"] == [{"name": "http", "containerPort": made.port}]
    service = next(d for d in DOCUMENTS if d["kind"] == "Service" and d["metadata"]["name"] == name)
    assert service["spec"]["ports"][0]["targetPort"] == "http"
    labels = next(
        d["spec"]["template"]["metadata"]["labels"]
        for d in DOCUMENTS
        if d["kind"] == "Deployment" and d["metadata"]["name"] == name
    )
    assert service["spec"]["selector"].items() <= labels.items()
    vllm = it["image"] == "gen-msa:cuda"
    assert it["livenessProbe"]["httpGet"]["path"] == ("/health" if vllm else "/healthz")
    for probe in ("startupProbe", "readinessProbe"):
        if vllm:
            assert it[probe]["exec"]["command"] == ["test", "-f", made.ready_file]
        else:
            assert it[probe]["httpGet"] == {"path": "/healthz", "port": "http"}
    mounted = {m["mountPath"] for m in it["volumeMounts"]}
    assert str(Path(made.token_file).parent) in mounted
    stop = made.stop_seconds if vllm else made.limits.stop_seconds
    sleep, seconds = it["lifecycle"]["preStop"]["exec"]["command"]
    assert sleep == "sleep"
    assert WORKLOADS[name]["terminationGracePeriodSeconds"] > stop + int(seconds)


def test_the_job_s_shards_are_as_many_as_its_pods_and_counted_from_one(monkeypatch):
    job = JOBS["gen-msa-explain"]
    words = shlex.split(container("gen-msa-explain")["args"][0])
    assert words[:3] == ["exec", "gen-msa", "explain"]
    told = words[words.index("--shard") + 1]
    shards = [
        Shard.parse(told.replace("$((JOB_COMPLETION_INDEX + 1))", str(i + 1)))
        for i in range(job["completions"])
    ]
    assert [(s.index, s.of) for s in shards] == [(i + 1, 4) for i in range(4)]
    assert job["completionMode"] == "Indexed"
    # No shard's end is another's.
    assert "backoffLimit" not in job
    assert job["backoffLimitPerIndex"] > 0
    (merge,) = container("gen-msa-merge")["args"]
    out = words[words.index("-o") + 1]
    assert shlex.split(merge) == ["exec", "gen-msa", "merge", MERGED.format(out[:-6]), "-o", out]


@pytest.mark.parametrize("version", ["1.33", "1.37"])
def test_every_manifest_is_one_of_kubernetes_own_schema(version):
    assert len(DOCUMENTS) >= 7
    for document in DOCUMENTS:
        assert kubernetes_validate.validate(document, version, strict=True) == version
    wrong = {**DOCUMENTS[0], "spec": {**DOCUMENTS[0]["spec"], "parallelizm": 4}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, version, strict=True)


def test_what_a_page_says_to_put_into_the_folder_is_never_committed():
    told = (DEPLOY / "compose.yaml").read_text()
    ignored = (ROOT / ".gitignore").read_text().split()
    for path in ("deploy/token", "deploy/models"):
        assert path in told
        assert {f"/{path}", f"/{path}/"} & set(ignored)


@pytest.mark.parametrize("name", WORKLOADS)
def test_a_pod_is_nobody_writes_nowhere_and_has_its_share(name):
    pod, it = WORKLOADS[name], container(name)
    assert it["image"].removeprefix("gen-msa:") in STAGES
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["automountServiceAccountToken"] is False
    closed = it["securityContext"]
    assert closed["readOnlyRootFilesystem"] is True
    assert closed["allowPrivilegeEscalation"] is False
    assert closed["capabilities"] == {"drop": ["ALL"]}
    for bound in ("requests", "limits"):
        assert {"cpu", "memory"} <= it["resources"][bound].keys()
    volumes = {v["name"] for v in pod["volumes"]}
    assert {m["name"] for m in it["volumeMounts"]} == volumes
    assert "/tmp" in {m["mountPath"] for m in it["volumeMounts"]}


def test_no_secret_stands_in_any_file():
    assert LEAK.search("API_KEY: sk-0123456789abcdef")
    for path in DEPLOY.rglob("*"):
        if path.is_file():
            text = path.read_text()
            assert not re.search(
                r"(?i)(token|key|password|secret)\w*\s*[:=]\s*[\"']?[\w-]{16,}", text
            )
            assert "BEGIN " not in text
    assert not [d for d in DOCUMENTS if d["kind"] == "Secret"]
    assert COMPOSE["secrets"]["token"] == {"file": "./token"}
