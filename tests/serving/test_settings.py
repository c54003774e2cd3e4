"""Settings and token: what is refused before anything listens."""

import pytest

from gen_msa.errors import UserError
from gen_msa.readers import ReaderSettings
from gen_msa.serving.settings import ServeSettings, is_loopback, token_of
from gen_msa.settings import load

TOKEN = "0123456789abcdef"


def test_the_reader_gets_what_was_given_and_nothing_of_the_service():
    settings = load(ServeSettings, overrides=["reader=echo", "reasons=false", "limits.posts=2"])
    assert settings.of_reader() == ReaderSettings(reader="echo", reasons=False, bad_picture="drop")
    assert settings.limits.posts == 2


@pytest.mark.parametrize("wrong", ["limits.post=1", "limits.posts=0", "batching.rows=x", "tokn=1"])
def test_an_unknown_or_impossible_setting_is_refused(wrong):
    with pytest.raises(UserError, match=wrong.partition("=")[0]):
        load(ServeSettings, overrides=[wrong])


def test_hosts_to_fetch_pictures_from_are_refused():
    with pytest.raises(UserError, match="fetches no pictures"):
        load(ServeSettings, overrides=["picture.allowed_hosts=[example.org]"])


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "example.org", "localhost.evil"])
def test_a_host_that_others_reach_demands_a_token(host):
    assert not is_loopback(host)
    settings = ServeSettings(host=host)
    with pytest.raises(UserError, match="no token"):
        token_of(settings, {})
    assert token_of(settings, {"GEN_MSA_TOKEN": TOKEN}) == TOKEN


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost"])
def test_this_machine_alone_needs_none(host):
    assert token_of(ServeSettings(host=host), {}) == ""


def test_a_token_from_a_file_wins_and_is_never_among_the_settings(tmp_path):
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n")
    settings = ServeSettings(token_file=str(file))
    assert token_of(settings, {"GEN_MSA_TOKEN": "another-token-of-16"}) == TOKEN
    assert TOKEN not in settings.model_dump_json()


@pytest.mark.parametrize("bad", ["short", "with blanks in the middle", "ünïcödé-ünïcödé-ü"])
def test_a_weak_or_odd_token_is_refused(bad, tmp_path):
    with pytest.raises(UserError, match="16 characters"):
        token_of(ServeSettings(), {"GEN_MSA_TOKEN": bad})
    file = tmp_path / "token"
    file.write_text("")
    with pytest.raises(UserError, match="16 characters"):
        token_of(ServeSettings(token_file=str(file)), {})
    with pytest.raises(UserError, match="cannot be read"):
        token_of(ServeSettings(token_file=str(tmp_path / "none")), {})
