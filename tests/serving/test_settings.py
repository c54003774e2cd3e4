"""Settings and token: what is refused before anything listens."""

import pytest

from gen_msa.errors import UserError
from gen_msa.predictors import PredictorSettings
from gen_msa.serving.settings import ServeSettings, is_loopback, load_token
from gen_msa.settings import load

TOKEN = "0123456789abcdef"


def test_predictor_settings_hold_only_predictor_fields():
    settings = load(ServeSettings, overrides=["model=echo", "explanations=false", "limits.posts=2"])
    assert settings.predictor_settings() == PredictorSettings(
        model="echo", explanations=False, bad_image="text-only"
    )
    assert settings.limits.posts == 2


@pytest.mark.parametrize(
    "override", ["limits.post=1", "limits.posts=0", "batching.rows=x", "tokn=1"]
)
def test_unknown_or_invalid_setting_is_refused(override):
    with pytest.raises(UserError, match=override.partition("=")[0]):
        load(ServeSettings, overrides=[override])


def test_remote_image_hosts_are_refused():
    with pytest.raises(UserError, match="fetches no images"):
        load(ServeSettings, overrides=["image.allowed_hosts=[example.org]"])


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "example.org", "localhost.evil"])
def test_public_host_requires_token(host):
    assert not is_loopback(host)
    settings = ServeSettings(host=host)
    with pytest.raises(UserError, match="no token"):
        load_token(settings, {})
    assert load_token(settings, {"GEN_MSA_TOKEN": TOKEN}) == TOKEN


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost"])
def test_loopback_host_needs_no_token(host):
    assert load_token(ServeSettings(host=host), {}) == ""


def test_token_file_takes_precedence_and_is_not_in_settings(tmp_path):
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n")
    settings = ServeSettings(token_file=str(file))
    assert load_token(settings, {"GEN_MSA_TOKEN": "another-token-of-16"}) == TOKEN
    assert TOKEN not in settings.model_dump_json()


@pytest.mark.parametrize("token", ["short", "with blanks in the middle", "ünïcödé-ünïcödé-ü"])
def test_weak_token_is_refused(token, tmp_path):
    with pytest.raises(UserError, match="16 characters"):
        load_token(ServeSettings(), {"GEN_MSA_TOKEN": token})
    file = tmp_path / "token"
    file.write_text("")
    with pytest.raises(UserError, match="16 characters"):
        load_token(ServeSettings(token_file=str(file)), {})
    with pytest.raises(UserError, match="cannot be read"):
        load_token(ServeSettings(token_file=str(tmp_path / "none")), {})
