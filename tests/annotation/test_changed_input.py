"""A job whose posts are appended to while it runs ends with an error, and may be run again."""

from pathlib import Path

import pytest

from gen_msa.annotation import JobSettings, annotate
from gen_msa.data import open_examples
from gen_msa.errors import UserError
from gen_msa.types import Example
from tests.fixtures.posts import post, write_posts


def test_output_of_a_changed_file_is_not_written_as_complete(tmp_path: Path) -> None:
    posts, out = tmp_path / "posts.jsonl", tmp_path / "opinions.jsonl"
    write_posts(posts, map(post, range(6)))
    settings = JobSettings(model="echo", chunk=2)

    def append_a_post(_: object) -> None:
        with posts.open("a") as f:
            f.write('{"id": "late", "text": "good tea"}\n')

    with pytest.raises(UserError, match=r"posts\.jsonl was changed while it was read"):
        annotate(
            open_examples(str(posts)),
            out,
            settings,
            cache_path=tmp_path / "opinions.cache",
            on_progress=append_a_post,
        )
    assert not out.exists()

    source = open_examples(str(posts))
    result = annotate(source, out, settings, cache_path=tmp_path / "opinions.cache")
    n_posts = sum(isinstance(row, Example) for row in source.rows())
    assert result.counts.from_cache >= 6
    assert len(out.read_text().splitlines()) + result.counts.rejected == n_posts
