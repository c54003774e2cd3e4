"""No regular expression that searches a text from outside takes quadratic time."""

import importlib
import pkgutil
import re
import time

import pytest

import gen_msa

PACKAGES = (
    *("annotation", "cues", "data", "evaluation", "language", "metrics", "predictors"),
    *("prompting", "serving.request_body", "spans", "training.model_card"),
)
MATCHED_ONLY = {
    # These are matched at one place of a text and never searched for in it.
    *("_BLANK", "_DENIED_IN_BRACKETS", "_IMAGE_NAME", "_JUNK_PATTERN", "_QUADRUPLE"),
    *("_SCRIPT_NAME", "_UNKNOWN_OPENER"),
}
LENGTH = 20_000
MAX_SECONDS = 0.5
"""Of CPU time: a linear search takes about 0.005, a quadratic one more than 1."""
UNITS = (
    " ",
    "\t",
    "\n",
    "\n ",
    "a",
    "a ",
    "a-",
    "a.",
    "a'",
    "1",
    "-",
    "_",
    ".",
    "#",
    " #",
    "@",
    "a@",
)
BRACKETS = (
    "<",
    "<a",
    "</a",
    "<!",
    "[",
    "[a",
    "![a",
    "[ ",
    "(",
    "{",
    '"',
    '\\"',
    "'",
    "|",
    "\n|a",
    "`",
)


def patterns():
    """Yield every compiled pattern of the packages that read texts, with its name."""
    for module_info in pkgutil.walk_packages(gen_msa.__path__, "gen_msa."):
        short_name = module_info.name.removeprefix("gen_msa.")
        if not short_name.startswith(PACKAGES) or short_name.endswith("__main__"):
            continue
        try:
            module = importlib.import_module(module_info.name)
        except ImportError:
            continue
        for name, value in vars(module).items():
            if isinstance(value, re.Pattern) and name not in MATCHED_ONLY:
                yield pytest.param(value, id=f"{short_name}.{name}")


def attacks(pattern):
    """Yield long texts of one repeated piece, which nearly match the pattern again and again."""
    source = pattern.pattern if isinstance(pattern.pattern, str) else pattern.pattern.decode()
    words = re.findall(r"[A-Za-z]{2,}:?", source)[:6]
    for unit in dict.fromkeys((*UNITS, *BRACKETS, *words)):
        text = unit * (LENGTH // len(unit)) + "!"
        yield unit, text if isinstance(pattern.pattern, str) else text.encode()


@pytest.mark.parametrize("pattern", list(patterns()))
def test_search_is_linear(pattern):
    for unit, text in attacks(pattern):
        start = time.process_time()
        for _ in pattern.finditer(text):
            pass
        seconds = time.process_time() - start
        assert seconds < MAX_SECONDS, f"{seconds:.2f} s for {LENGTH} characters of {unit!r}"
