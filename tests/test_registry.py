"""Every registered name gives a part; unknown names and wrong modules are clear errors."""

import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from gen_msa.annotation.filters import filters
from gen_msa.backends import backends
from gen_msa.cues import cue_sources
from gen_msa.data import catalog, datasets
from gen_msa.data.formats import formats
from gen_msa.errors import MissingExtra, UserError
from gen_msa.evaluation.probes import probes
from gen_msa.finetuning.rationales import rationale_sources
from gen_msa.metrics import metrics
from gen_msa.models import models
from gen_msa.predictors import predictors
from gen_msa.registry import BaseRegistry, InstanceRegistry, Registry

REGISTRIES: list[BaseRegistry] = [
    backends,
    cue_sources,
    datasets,
    formats,
    filters,
    metrics,
    probes,
    predictors,
    rationale_sources,
    models,
]


@pytest.mark.parametrize("registry", REGISTRIES, ids=lambda r: r.kind)
def test_every_registered_name_loads_a_part(registry: BaseRegistry) -> None:
    assert registry.names()
    for name in registry.names():
        assert registry[name] is registry[name]


def test_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'twitter2015'"):
        datasets["twiter2015"]


def test_two_parts_in_one_module_are_rejected() -> None:
    registry: Registry[object] = Registry("thing", "gen_msa.cues", "gen_msa.things")

    class One: ...

    class Two: ...

    One.__module__ = Two.__module__ = "somewhere.window"
    registry.register(One)
    with pytest.raises(TypeError, match="registers two"):
        registry.register(Two)


def test_every_catalog_row_is_a_dataset_without_a_file() -> None:
    files = {path.stem for path in Path(catalog.__file__).parent.glob("*.py")}
    assert not files & set(catalog.PARTS)
    assert set(catalog.PARTS) <= set(datasets.names())
    assert all(datasets[name] is part for name, part in catalog.PARTS.items())


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Create an empty package `soups` with a registry of instances in its `base`."""
    folder = tmp_path / "soups"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "base.py").write_text(
        "from gen_msa.registry import InstanceRegistry\n"
        'soups = InstanceRegistry("soup", "soups", "test.soups", catalog="catalog")\n'
    )
    (folder / "catalog.py").write_text('PARTS = {"leek": "leek soup"}\n')
    monkeypatch.syspath_prepend(tmp_path)
    yield folder
    for name in [n for n in sys.modules if n.partition(".")[0] == "soups"]:
        del sys.modules[name]


def soups() -> InstanceRegistry[Any]:
    from soups.base import soups

    return soups


def test_only_a_decorated_module_adds_a_part(package) -> None:
    part = "from soups.base import soups\n\n\n@soups.register\nclass Onion:\n    hot = True\n"
    (package / "onion.py").write_text(part)
    (package / "helper.py").write_text("# write `@soups.register` above a class\n")
    (package / "broken.py").write_text("from soups.base import soups\n@soups.register\nnonsense")
    (package / "deeper").mkdir()
    (package / "deeper" / "__init__.py").write_text(part)
    assert soups().names() == ["broken", "leek", "onion"]
    assert soups()["onion"].hot
    assert soups()["onion"] is soups()["onion"]
    assert soups()["leek"] == "leek soup"
    with pytest.raises(UserError, match="no soup named 'helper'"):
        soups()["helper"]


@pytest.mark.parametrize("target", ["Cold", "cold"])
def test_entry_point_may_name_a_class_or_its_instance(package, target, monkeypatch) -> None:
    (package.parent / "theirs.py").write_text("class Cold:\n    hot = False\n\n\ncold = Cold()\n")
    monkeypatch.delitem(sys.modules, "theirs", raising=False)
    entry = EntryPoint("gazpacho", f"theirs:{target}", "test.soups")
    monkeypatch.setattr("gen_msa.registry.entry_points", lambda group: [entry])
    assert soups().names() == ["gazpacho", "leek"]
    assert soups()["gazpacho"].hot is False
    assert soups()["gazpacho"] is soups()["gazpacho"]


def test_part_of_another_package_may_use_the_decorator(package, monkeypatch) -> None:
    part = "from soups.base import soups\n@soups.register\nclass Miso:\n    hot = True\n"
    (package.parent / "miso.py").write_text(part)
    monkeypatch.delitem(sys.modules, "miso", raising=False)
    entry = EntryPoint("miso", "miso:Miso", "test.soups")
    monkeypatch.setattr("gen_msa.registry.entry_points", lambda group: [entry])
    assert soups()["miso"].hot


def test_missing_extra_has_install_command() -> None:
    assert "pip install 'gen-msa[vllm]'" in str(MissingExtra("vllm", "vllm"))
