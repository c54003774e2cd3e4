"""The builtin model with tiny parts, and one with a trained adapter."""

import pytest


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """Replace the parts of the builtin model by tiny ones, with a cache of its own.

    A GGUF file and the package's network are not available in tiny sizes, so their loaders are
    replaced.
    """
    assembly = pytest.importorskip("gen_msa.builtin.assembly", reason="torch is not installed")
    from gen_msa import builtin
    from tests.builtin.builders import tiny_language, tiny_vision_encoder

    for name in ("language", "vision"):
        (tmp_path / name).write_bytes(name.encode())
    files = tmp_path / "language", tmp_path / "vision"
    monkeypatch.setattr(builtin, "weights_files", lambda: files)
    monkeypatch.setattr(assembly, "load_gguf", lambda path: tiny_language())
    monkeypatch.setattr(builtin, "load_efficientnet", lambda path, grid: tiny_vision_encoder(grid))
    monkeypatch.setattr(builtin, "_ADAPTER_FOLDER", tmp_path / "weights")
    monkeypatch.setenv("GEN_MSA_CACHE", str(tmp_path / "cache"))
    return files


@pytest.fixture
def trained_model(tiny, tmp_path):
    """Save an adapter (LoRA and a projector) as the shipped one, and return its model."""
    peft = pytest.importorskip("peft", reason="peft is not installed")
    import torch

    from gen_msa import builtin, manifest
    from tests.builtin.builders import tiny_builtin

    torch.manual_seed(11)
    config = peft.LoraConfig(
        r=2, target_modules=r".*language_model.*q_proj", modules_to_save=["multi_modal_projector"]
    )
    model = peft.get_peft_model(tiny_builtin(builtin.VISION_GRID)[0], config).eval()
    with torch.no_grad():
        for weight in (p for p in model.parameters() if p.requires_grad):
            weight.normal_(0, 0.3)
    model.save_pretrained(tmp_path / "weights")
    manifest.seal(tmp_path / "weights")
    return model
