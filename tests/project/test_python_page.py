"""The Python page and the quickstart notebook run from top to bottom."""

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

import gen_msa

ROOT = Path(gen_msa.__file__).parent.parent
PAGE = (ROOT / "docs" / "python.md").read_text("utf-8")
BLOCKS = re.findall(r"```python\n(.+?)```", PAGE, re.DOTALL)
NOTEBOOK = ROOT / "notebooks" / "quickstart.ipynb"


@pytest.mark.models
def test_python_page_runs_in_order(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {}
    for block in BLOCKS:
        exec(compile(block, "docs/python.md", "exec"), namespace)  # our own page

    assert (tmp_path / "opinions.xlsx").stat().st_size > 0
    assert "did you mean 'echo'" in capsys.readouterr().out
    assert not (tmp_path / "adapters" / "mine" / "adapter").exists()


def test_python_page_names_every_public_function():
    functions = [n for n in gen_msa.__all__ if n[0].islower()]

    assert [n for n in functions if f"gm.{n}" not in PAGE] == []


@pytest.mark.models
def test_notebook_runs_and_shows_a_table(tmp_path):
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert all(not c.get("outputs") for c in notebook.cells), "commit the notebook without outputs"

    NotebookClient(notebook, timeout=240, resources={"metadata": {"path": str(tmp_path)}}).execute()

    outputs = [o for c in notebook.cells if c.cell_type == "code" for o in c.outputs]
    pages = [o.data["text/html"] for o in outputs if "text/html" in o.get("data", {})]
    assert any("positive" in page for page in pages)
    assert (tmp_path / "report.html").is_file()


@pytest.mark.models
def test_readme_python_runs(capsys):
    readme = (ROOT / "README.md").read_text("utf-8")
    (block,) = re.findall(r"```python\n(.+?)```", readme, re.DOTALL)

    exec(compile(block, "README.md", "exec"), {})

    assert "positive" in capsys.readouterr().out
