import pytest

from gen_msa import resources
from gen_msa.errors import UserError


def test_resource_is_found_by_name_and_user_file_by_path(tmp_path):
    assert resources.find_resource("prompts", "predict/full", ".jinja").is_file()
    user_path = tmp_path / "mine.jinja"
    user_path.write_text("x")
    assert resources.find_resource("prompts", str(user_path), ".jinja") == user_path


def test_unknown_name_suggests_the_nearest():
    with pytest.raises(UserError, match="did you mean 'predict/full'"):
        resources.find_resource("prompts", "predict/ful", ".jinja")


def test_name_cannot_leave_the_folder():
    with pytest.raises(UserError):
        resources.find_resource("prompts", "../pyproject", ".toml")
