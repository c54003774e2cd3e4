import pytest

from gen_msa import shipped
from gen_msa.errors import UserError


def test_a_shipped_file_is_found_by_name_and_an_own_file_by_path(tmp_path):
    assert shipped.shipped("prompts", "reader/full", ".jinja").is_file()
    own = tmp_path / "mine.jinja"
    own.write_text("x")
    assert shipped.shipped("prompts", str(own), ".jinja") == own


def test_an_unknown_name_is_answered_with_the_nearest_one():
    with pytest.raises(UserError, match="did you mean 'reader/full'"):
        shipped.shipped("prompts", "reader/ful", ".jinja")


def test_names_cannot_leave_the_folder():
    with pytest.raises(UserError):
        shipped.shipped("prompts", "../pyproject", ".toml")
