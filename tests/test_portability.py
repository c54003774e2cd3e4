"""What differs between Linux, macOS and Windows, simulated: no module needs more than it says."""

import ast
import errno
import multiprocessing
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import gen_msa
from gen_msa import errors, jsonl
from gen_msa.annotation import JobSettings, annotate, ray_cluster
from gen_msa.cli import doctor, main
from gen_msa.data import open_examples
from gen_msa.errors import UserError
from gen_msa.evaluation import cost
from gen_msa.serving import sockets
from gen_msa.serving.vllm import VllmSettings, server
from gen_msa.types import Example, Opinion, Polarity
from tests.fixtures.portability import needs_posix
from tests.fixtures.posts import post, write_posts

ROOT = Path(gen_msa.__file__).parent
POSIX_MODULES = ("fcntl", "grp", "pwd", "resource", "termios", "tty", "pty")

IMPORT_ALL = f"""
import importlib, pkgutil, sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        caller = sys._getframe(1)
        while caller is not None and "importlib" in caller.f_code.co_filename:
            caller = caller.f_back
        ours = caller is not None and "gen_msa" in caller.f_code.co_filename
        if name in {POSIX_MODULES!r} and ours:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

for name in {POSIX_MODULES!r}:
    sys.modules.pop(name, None)
sys.meta_path.insert(0, Missing())
import gen_msa
for module in pkgutil.walk_packages(gen_msa.__path__, "gen_msa."):
    if module.name.endswith("__main__"):
        continue
    try:
        importlib.import_module(module.name)
    except ModuleNotFoundError as e:
        if e.name in {POSIX_MODULES!r}:
            raise
print("imported")
"""


@pytest.fixture
def windows(monkeypatch):
    """Let this process believe that it runs on Windows, as far as the package looks."""
    monkeypatch.setattr(errors, "RUNS_ON_WINDOWS", True)


def test_every_module_is_imported_without_the_modules_of_posix():
    run = [sys.executable, "-c", IMPORT_ALL]
    completed = subprocess.run(run, capture_output=True, text=True, encoding="utf-8")
    assert completed.stdout.endswith("imported\n"), completed.stderr


def without_encoding(source):
    """Return the lines that open a text in the encoding of the system."""
    lines = []
    for call in ast.walk(ast.parse(source)):
        if not isinstance(call, ast.Call):
            continue
        name = getattr(call.func, "attr", getattr(call.func, "id", ""))
        values = [a.value for a in call.args if isinstance(a, ast.Constant)]
        modes = [v for v in values if v in ("r", "w", "a", "rt", "wt", "at", "x", "r+", "w+")]
        is_text = (
            (name == "read_text" and not call.args)
            or (name == "write_text" and len(call.args) == 1)
            or (name == "open" and modes)
            or (isinstance(call.func, ast.Name) and name == "open" and len(call.args) == 1)
        )
        if is_text and not any(k.arg in ("encoding", "mode") for k in call.keywords):
            lines.append(call.lineno)
    return lines


def test_texts_are_opened_with_an_encoding():
    assert without_encoding("open(p)\np.open('w')\np.read_text()\np.open('rb')") == [1, 2, 3]
    found = {
        path.relative_to(ROOT).as_posix(): lines
        for path in ROOT.rglob("*.py")
        if (lines := without_encoding(path.read_text("utf-8")))
    }
    assert found == {}


@pytest.mark.parametrize(
    "name", ["SIGKILL", "SIGHUP", "SIGUSR1", "killpg", "fork", "setsid", "sched_getaffinity"]
)
def test_names_that_windows_lacks_stand_behind_a_check(name):
    users = {
        path.relative_to(ROOT).as_posix()
        for path in ROOT.rglob("*.py")
        if re.search(rf"\b(?:os|signal)\.{name}\b", path.read_text("utf-8"))
    }
    # The first refuses to start on Windows, the second asks whether there is one.
    assert users <= {"serving/vllm/server.py", "cli/doctor.py"}


def test_vllm_ray_and_cost_say_that_windows_has_them_not(windows, monkeypatch):
    with pytest.raises(UserError, match="vllm: models is not supported on Windows"):
        server.serve(VllmSettings(model="vllm:anything"))
    with pytest.raises(UserError, match="engine=ray is not supported on Windows"):
        ray_cluster.connect(JobSettings(engine="ray"))
    monkeypatch.setitem(sys.modules, "resource", None)
    monkeypatch.setattr(cost.Path, "is_file", lambda _: False)
    with pytest.raises(UserError, match="which Windows does not tell"):
        cost.peak_memory_mb()


def test_doctor_works_without_sysconf(monkeypatch, capfd):
    monkeypatch.delattr(os, "sysconf")
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    doctor.doctor()
    assert "unknown on this system" in capfd.readouterr().out


class Kernel32:
    """The calls of Windows that tell whether a process runs."""

    def __init__(self, handle, waited=0, error=0):
        self.handle, self.waited, self.error = handle, waited, error
        self.closed = []

    def OpenProcess(self, access, inherit, pid):  # noqa: N802
        return self.handle

    def WaitForSingleObject(self, handle, milliseconds):  # noqa: N802
        assert milliseconds == 0
        return self.waited

    def GetLastError(self):  # noqa: N802
        return self.error

    def CloseHandle(self, handle):  # noqa: N802
        self.closed.append(handle)


@pytest.mark.parametrize(
    ("kernel", "is_running"),
    [
        (Kernel32(7, waited=0x102), True),
        (Kernel32(7, waited=0), False),
        (Kernel32(0, error=5), True),
        (Kernel32(0, error=87), False),
    ],
)
def test_process_of_windows_is_looked_up_and_not_signalled(kernel, is_running):
    assert jsonl._is_running_on_windows(1234, kernel) is is_running
    assert kernel.closed == [7] * bool(kernel.handle)


def test_running_process_is_found_and_not_disturbed():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert jsonl.is_process_running(str(child.pid))
    assert child.poll() is None
    child.communicate(b"\n")
    assert not jsonl.is_process_running(str(child.pid))


def test_port_of_another_server_is_never_taken():
    with socket.socket() as first, socket.socket() as second:
        for each in (first, second):
            sockets.take_only_free_port(each)
        first.bind(("127.0.0.1", 0))
        first.listen()
        with pytest.raises(OSError) as caught:  # noqa: PT011  its number is checked
            second.bind(first.getsockname())
        assert caught.value.errno in (errno.EADDRINUSE, errno.EACCES)


def test_windows_has_another_option_for_that(windows):
    options = []

    class Socket:
        def setsockopt(self, *option):
            options.append(option)

    sockets.take_only_free_port(Socket())
    assert options == [(socket.SOL_SOCKET, ~socket.SO_REUSEADDR, 1)]


def test_workers_are_spawned_and_give_the_same_answers(tmp_path, monkeypatch):
    posts = write_posts(tmp_path / "posts.jsonl", map(post, range(6)))
    methods = []
    get_context = multiprocessing.get_context

    def recorded(method=None):
        methods.append(method)
        return get_context(method)

    monkeypatch.setattr(multiprocessing, "get_context", recorded)
    for name, workers in (("one.jsonl", 1), ("two.jsonl", 2)):
        settings = JobSettings(model="echo", workers=workers, chunk=2, cues={})
        annotate(open_examples(str(posts)), tmp_path / name, settings)
    assert methods.count("spawn") >= 1
    assert "fork" not in methods
    assert (tmp_path / "one.jsonl").read_bytes() == (tmp_path / "two.jsonl").read_bytes()


def test_files_of_an_evaluation_have_names_that_every_system_takes(tmp_path, capfd, monkeypatch):
    gold = Opinion(annotator="gold", aspect=post(0).aspects[0], polarity=Polarity.POSITIVE)
    example = Example(post=post(0), opinions=(gold,))
    data, out = tmp_path / "data.jsonl", tmp_path / "out"
    data.write_text(example.model_dump_json() + "\n", encoding="utf-8")
    models = ("-m", "echo", "-m", "majority:data.jsonl")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["gen-msa", "evaluate", str(data), *models, "-o", str(out)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code, capfd.readouterr().err
    names = [p.name for p in out.rglob("*")]
    assert len([n for n in names if n.endswith(".cache")]) == 2
    assert [n for n in names if re.search(r'[<>:"|?*\\]|[. ]$', n)] == []


def test_workflow_runs_the_portable_suite_on_three_systems():
    workflow = yaml.safe_load((ROOT.parent / ".github/workflows/test.yml").read_text("utf-8"))
    job = workflow["jobs"]["portable"]
    systems = {name.partition("-")[0] for name in job["strategy"]["matrix"]["os"]}
    assert systems == {"ubuntu", "macos", "windows"}
    (pytest_step,) = [s["run"] for s in job["steps"] if "pytest" in s.get("run", "")]
    makefile = (ROOT.parent / "Makefile").read_text("utf-8")
    (expression,) = re.findall(r"^PORTABLE := (.+)$", makefile, re.MULTILINE)
    assert f'-m "{expression}"' in pytest_step


def test_tests_that_windows_lacks_the_means_for_are_marked():
    class Item:
        def __init__(self, path, module, function):
            self.path, self.module, self.function = Path(__file__).parent / path, module, function

    from tests.annotation import test_kill
    from tests.media import test_media_paths

    kills = [v for k, v in vars(test_kill).items() if k.startswith("test_")]
    assert any(needs_posix(Item("annotation/test_kill.py", test_kill, k)) for k in kills)
    paths = [v for k, v in vars(test_media_paths).items() if k.startswith("test_")]
    marked = [needs_posix(Item("media/test_media_paths.py", test_media_paths, p)) for p in paths]
    assert any(marked)
    assert not all(marked)
