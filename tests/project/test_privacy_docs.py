"""The commands of docs/privacy.md run in their order, and end as the page says."""

import re
import shlex
from pathlib import Path

import pytest

import gen_msa
from gen_msa.backends import BackendOptions
from gen_msa.cli import main
from gen_msa.data import open_examples
from gen_msa.pseudonyms import ITEM_KINDS
from gen_msa.pseudonyms.placeholders import KEY_ENV_VAR
from gen_msa.types import Example, Post
from tests.fixtures.posts import write_posts

PAGE = (Path(gen_msa.__file__).parent.parent / "docs" / "privacy.md").read_text("utf-8")
COMMANDS = re.findall(r"^\$ gen-msa (.+)$", PAGE, re.MULTILINE)


def exit_code(command: str, monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.setattr("sys.argv", ["gen-msa", *shlex.split(command)])
    try:
        main()
    except SystemExit as e:
        return e.code or 0
    return 0


def test_commands_end_as_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    posts = [Post(id="1", text="@ana likes the soup, https://t.co/x")]
    write_posts(tmp_path / "posts.jsonl", posts)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(KEY_ENV_VAR, "a key of the tests")
    assert [exit_code(command, monkeypatch) for command in COMMANDS] == [2, 0, 0]
    output = capfd.readouterr()
    assert "nothing was sent: api.example.com is not this machine" in output.err
    assert "up to 1 post: 1 text (35 B), no images" in output.err
    assert "pseudonymized: 1 handle, 1 url" in output.out
    assert "@ana" not in output.out
    (row,) = open_examples("opinions.jsonl").rows()
    assert isinstance(row, Example)
    assert row.post == posts[0]
    assert all("user" not in (o.explanation or "") for o in row.opinions)


def test_names_of_the_page_exist() -> None:
    assert "send_to" in BackendOptions.model_fields
    assert KEY_ENV_VAR in PAGE
    for kind in ITEM_KINDS:
        assert f"| `{kind}` |" in PAGE
