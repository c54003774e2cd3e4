"""A job replaces its own earlier outputs, names what is left of them, and no other file."""

import pytest

from tests.fixtures.posts import post, write_posts


@pytest.fixture
def posts(tmp_path):
    return write_posts(tmp_path / "posts.jsonl", map(post, range(2)))


def explain(gen_msa, posts, *options):
    return gen_msa("explain", posts, "-m", "echo", *options)


OTHER_FILES = {
    "notes.jsonl": '{"my": "notes"}\n',
    "gold.jsonl": '{"post": {"id": "1", "text": "good tea"}, "opinions": []}\n',
    "table.csv": "id,text\n1,good tea\n",
    "page.html": "<html>My page</html>",
}


@pytest.mark.parametrize(("name", "content"), OTHER_FILES.items())
def test_file_of_another_origin_is_not_replaced_without_permission(
    gen_msa, posts, tmp_path, name, content
):
    path = tmp_path / name
    path.write_text(content)
    option = {".csv": "--csv", ".html": "--html"}.get(path.suffix, "-o")
    completed = explain(gen_msa, posts, option, path)
    assert completed.code == 2
    assert f"{name} exists, and gen-msa has not written it" in completed.err
    assert "--overwrite" in completed.err
    assert path.read_text() == content
    assert explain(gen_msa, posts, option, path, "--overwrite").code == 0
    assert path.read_text() != content


def test_own_outputs_are_replaced_and_older_ones_named(gen_msa, posts, tmp_path):
    out, table, page = (tmp_path / f"o.{s}" for s in ("jsonl", "csv", "html"))
    files = ("-o", out, "--csv", table, "--html", page)
    assert explain(gen_msa, posts, *files).code == 0
    before = page.read_bytes()
    again = gen_msa("explain", posts, "-m", "majority:tiny", "-o", out, "--csv", table)
    assert again.code == 0, again.err
    assert f"of an earlier run: {page}" in again.err
    assert str(table) not in again.err.partition("of an earlier run")[2]
    assert page.read_bytes() == before
    assert "majority" in table.read_text("utf-8")


def test_annotate_replaces_no_other_file(gen_msa, posts, tmp_path):
    path = tmp_path / "notes.jsonl"
    path.write_text("mine")
    completed = gen_msa("annotate", posts, "-m", "echo", "-o", path)
    assert completed.code == 2
    assert path.read_text() == "mine"


@pytest.mark.parametrize(
    ("name", "content"),
    [("e.csv", "id,text\n"), ("e.csv", ""), ("e.jsonl", "\n\n"), ("e.json", "[]")],
)
@pytest.mark.parametrize("verb", ["explain", "annotate"])
def test_file_without_posts_is_no_success(gen_msa, tmp_path, verb, name, content):
    path = tmp_path / name
    path.write_text(content)
    completed = gen_msa(verb, path, "-m", "echo", "-o", tmp_path / "o.jsonl")
    assert completed.code == 3
    assert "no posts" in completed.err
