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
from gen_msa.annotation import Shard
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


def settings(arguments):
    """Of a `serve` command."""
    command, model, *overrides = arguments
    assert command == "serve"
    kind = VllmSettings if model.startswith("vllm:") else ServeSettings
    return load(kind, overrides=[*overrides, f"model={model}"])


def container(name):
    (only,) = WORKLOADS[name]["containers"]
    return only


def stage(name):
    return re.split(r"^FROM ", DOCKERFILE, flags=re.MULTILINE)[1 + STAGES.index(name)]


@pytest.mark.parametrize("name", ["cpu", "cuda"])
def test_image_command_serves_on_exposed_port_as_non_root(name):
    text = stage(name)
    serve_settings = settings(json.loads(re.search(r"^CMD (.+)$", text, re.MULTILINE)[1]))
    assert f"EXPOSE {serve_settings.port}" in text
    assert serve_settings.token_file
    assert re.search(r"^USER [1-9]\d*:", text, re.MULTILINE)
    assert 'ENTRYPOINT ["gen-msa"]' in text


def test_images_install_known_extras_and_copy_only_wheel_files():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    extras_lists = re.findall(r"\.whl\)\[([\w,]+)\]", DOCKERFILE)
    assert extras_lists
    assert set(",".join(extras_lists).split(",")) <= set(extras)
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().split()
    assert ignored[0] == "**"
    copied = [x[1:] for x in ignored if x.startswith("!")]
    assert all((ROOT / name).exists() for name in copied)
    included = project["tool"]["hatch"]["build"]
    needed = included["targets"]["wheel"]["force-include"]
    assert all(any(n.split("/")[0] == k for k in copied) for n in needed)


@pytest.mark.parametrize("name", ["service", "vllm"])
def test_compose_service_is_locked_down_and_has_health_check(name):
    service = COMPOSE["services"][name]
    serve_settings = settings(service["command"])
    assert service["image"] == f"gen-msa:{service['build']['target']}"
    assert service["build"]["target"] in STAGES
    assert (DEPLOY / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
    assert service["ports"] == [f"127.0.0.1:{serve_settings.port}:{serve_settings.port}"]
    probe_command = service["healthcheck"]["test"]
    if name == "vllm":
        assert probe_command == ["CMD", "test", "-f", serve_settings.ready_file]
    else:
        assert f":{serve_settings.port}/healthz'" in probe_command[-1]
    assert serve_settings.token_file == f"/run/secrets/{service['secrets'][0]}"
    assert service["read_only"] is True
    assert not service["user"].startswith("0")
    assert service["cap_drop"] == ["ALL"]
    assert service["mem_limit"]
    stop = serve_settings.limits.stop_seconds if name == "service" else serve_settings.stop_seconds
    assert int(service["stop_grace_period"].rstrip("s")) > stop


@pytest.mark.parametrize("name", SERVERS)
def test_server_port_matches_container_service_and_probes(name):
    spec = container(name)
    serve_settings = settings(spec["args"])
    assert spec["ports"] == [{"name": "http", "containerPort": serve_settings.port}]
    service = next(d for d in DOCUMENTS if d["kind"] == "Service" and d["metadata"]["name"] == name)
    assert service["spec"]["ports"][0]["targetPort"] == "http"
    labels = next(
        d["spec"]["template"]["metadata"]["labels"]
        for d in DOCUMENTS
        if d["kind"] == "Deployment" and d["metadata"]["name"] == name
    )
    assert service["spec"]["selector"].items() <= labels.items()
    vllm = spec["image"] == "gen-msa:cuda"
    assert spec["livenessProbe"]["httpGet"]["path"] == ("/health" if vllm else "/healthz")
    for probe in ("startupProbe", "readinessProbe"):
        if vllm:
            assert spec[probe]["exec"]["command"] == ["test", "-f", serve_settings.ready_file]
        else:
            assert spec[probe]["httpGet"] == {"path": "/healthz", "port": "http"}
    mounted = {m["mountPath"] for m in spec["volumeMounts"]}
    assert str(Path(serve_settings.token_file).parent) in mounted
    stop = serve_settings.stop_seconds if vllm else serve_settings.limits.stop_seconds
    sleep, seconds = spec["lifecycle"]["preStop"]["exec"]["command"]
    assert sleep == "sleep"
    assert WORKLOADS[name]["terminationGracePeriodSeconds"] > stop + int(seconds)


def test_job_shards_match_its_pods_and_count_from_one(monkeypatch):
    job = JOBS["gen-msa-explain"]
    arguments = shlex.split(container("gen-msa-explain")["args"][0])
    assert arguments[:3] == ["exec", "gen-msa", "explain"]
    shard_argument = arguments[arguments.index("--shard") + 1]
    shards = [
        Shard.parse(shard_argument.replace("$((JOB_COMPLETION_INDEX + 1))", str(i + 1)))
        for i in range(job["completions"])
    ]
    assert [(s.index, s.n_shards) for s in shards] == [(i + 1, 4) for i in range(4)]
    assert job["completionMode"] == "Indexed"
    # No shard's end is another's.
    assert "backoffLimit" not in job
    assert job["backoffLimitPerIndex"] > 0
    (merge,) = container("gen-msa-merge")["args"]
    out = arguments[arguments.index("-o") + 1]
    assert shlex.split(merge) == ["exec", "gen-msa", "merge", MERGED.format(out[:-6]), "-o", out]


@pytest.mark.parametrize("version", ["1.33", "1.37"])
def test_every_manifest_fits_the_kubernetes_schema(version):
    assert len(DOCUMENTS) >= 7
    for document in DOCUMENTS:
        assert kubernetes_validate.validate(document, version, strict=True) == version
    invalid = {**DOCUMENTS[0], "spec": {**DOCUMENTS[0]["spec"], "parallelizm": 4}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(invalid, version, strict=True)


def test_secrets_and_models_of_compose_are_git_ignored():
    compose_text = (DEPLOY / "compose.yaml").read_text()
    ignored = (ROOT / ".gitignore").read_text().split()
    for path in ("deploy/token", "deploy/models"):
        assert path in compose_text
        assert {f"/{path}", f"/{path}/"} & set(ignored)


@pytest.mark.parametrize("name", WORKLOADS)
def test_pod_is_unprivileged_read_only_and_bounded(name):
    pod, spec = WORKLOADS[name], container(name)
    assert spec["image"].removeprefix("gen-msa:") in STAGES
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["automountServiceAccountToken"] is False
    security = spec["securityContext"]
    assert security["readOnlyRootFilesystem"] is True
    assert security["allowPrivilegeEscalation"] is False
    assert security["capabilities"] == {"drop": ["ALL"]}
    for resource_kind in ("requests", "limits"):
        assert {"cpu", "memory"} <= spec["resources"][resource_kind].keys()
    volumes = {v["name"] for v in pod["volumes"]}
    assert {m["name"] for m in spec["volumeMounts"]} == volumes
    assert "/tmp" in {m["mountPath"] for m in spec["volumeMounts"]}


def test_no_file_holds_a_secret():
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
