"""A name is a file: every registered name imports, and what is wrong is said."""

import pytest

from gen_msa.annotating.gates import gates
from gen_msa.backends import backends
from gen_msa.cues import cues
from gen_msa.data import datasets
from gen_msa.data.formats import formats
from gen_msa.errors import MissingExtra, UserError
from gen_msa.evaluating.probing import probes
from gen_msa.metrics import metrics
from gen_msa.readers import readers
from gen_msa.registry import Registry
from gen_msa.students import students

REGISTRIES: list[Registry] = [
    backends,
    cues,
    datasets,
    formats,
    gates,
    metrics,
    probes,
    readers,
    students,
]


@pytest.mark.parametrize("registry", REGISTRIES, ids=lambda r: r.kind)
def test_every_name_of_a_registry_gives_a_part(registry: Registry) -> None:
    assert registry.names()
    for name in registry.names():
        assert registry[name] is registry[name]


def test_an_unknown_name_is_answered_with_the_nearest_one() -> None:
    with pytest.raises(UserError, match="did you mean 'twitter2015'"):
        datasets["twiter2015"]


def test_two_parts_in_one_module_are_refused() -> None:
    registry: Registry[object] = Registry("thing", "gen_msa.cues", "gen_msa.things")

    class One: ...

    class Two: ...

    One.__module__ = Two.__module__ = "somewhere.window"
    registry.register(One)
    with pytest.raises(TypeError, match="registers two"):
        registry.register(Two)


def test_a_missing_extra_says_how_to_get_it() -> None:
    assert "pip install 'gen-msa[vllm]'" in str(MissingExtra("vllm", "vllm"))
