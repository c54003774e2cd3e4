"""What was trained on top of the builtin model is merged, checked, and changes the reader."""

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

import torch

from gen_msa import builtin
from gen_msa.errors import UserError
from gen_msa.readers import ReaderSettings, make
from tests.builtin.tiny_parts import picture, tiny_builtin


def test_what_was_trained_is_merged_and_told(trained, tmp_path):
    backend = make(ReaderSettings(reader="builtin"), tmp_path)._backend
    assert builtin.adapted() == tmp_path / "weights"
    assert "+" in backend.revision
    model, processor = backend.session.engine.model, backend.session.layout.processor
    inputs = processor(text=["<image>hi"], images=[[picture()]], return_tensors="pt")
    with torch.inference_mode():
        found, wanted = model(**inputs).logits, trained(**inputs).logits
        plain = tiny_builtin(builtin.GRID)[0](**inputs).logits
    assert torch.allclose(found, wanted, atol=1e-4)
    assert not torch.allclose(found, plain, atol=1e-2)
    assert not any("lora" in name for name, _ in model.named_parameters())


def test_an_adapter_of_ones_own_is_named_after_the_colon(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(builtin, "_TRAINED", tmp_path / "elsewhere")
    plain = make(ReaderSettings(reader="builtin"), tmp_path)._backend
    own = make(ReaderSettings(reader=f"builtin:{tmp_path / 'weights'}"), tmp_path)._backend
    assert own.sees_pictures
    assert own.revision.startswith(plain.revision.partition("/")[0] + "+")


def test_trained_weights_that_were_altered_are_refused(trained, tmp_path):
    path = tmp_path / "weights" / "adapter_model.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(UserError, match="was altered"):
        make(ReaderSettings(reader="builtin"), tmp_path)


def test_the_reader_shows_pictures_only_to_a_model_that_was_taught_to_see(tiny, tmp_path):
    def shown(reader):
        return reader.fingerprint()["settings"]["prompt"], reader._backend.sees_pictures

    settings = ReaderSettings(reader="builtin")
    assert shown(make(settings, tmp_path)) == ("reader/shots", False)
    (tmp_path / "weights").mkdir()
    assert builtin.adapted() is None


def test_the_reader_of_trained_weights_sees_pictures(trained, tmp_path):
    reader = make(ReaderSettings(reader="builtin"), tmp_path)
    assert reader._backend.sees_pictures
    assert reader.fingerprint()["settings"]["prompt"] == "reader/full"
