"""`import gen_msa` is light, and every public name is documented and typed."""

import inspect
import subprocess
import sys

import pytest

import gen_msa as gm

HEAVY = ("torch", "transformers", "spacy", "pandas", "numpy", "pydantic", "PIL", "pyarrow", "rich")


def test_import_loads_nothing_heavy():
    code = f"import gen_msa, sys; print([m for m in {HEAVY!r} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert out.stdout.strip() == "[]"


def test_explain_of_a_fake_loads_no_model_library():
    code = (
        "import gen_msa as gm, sys\n"
        "gm.explain('good food', model='echo', aspects=['food'], cues={})\n"
        "print([m for m in ('torch', 'transformers', 'spacy', 'pandas') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert out.stdout.strip() == "[]"


@pytest.mark.parametrize("name", gm.__all__)
def test_public_names_are_documented(name):
    part = getattr(gm, name)

    assert inspect.getdoc(part)
    assert name in dir(gm)


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'explane'"):
        _ = gm.explane
