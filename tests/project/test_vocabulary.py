"""Words that the field does not use stay out of names and out of texts for users."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import gen_msa

ROOT = Path(gen_msa.__file__).parent.parent
PYTHON = [
    p
    for folder in ("gen_msa", "eval", "finetune", "tests")
    for p in (ROOT / folder).rglob("*.py")
    if "_resources" not in p.parts
]
RETIRED = {
    "said",
    "told",
    "heard",
    "mend",
    "mended",
    "mending",
    "crew",
    "crews",
    "desk",
    "desks",
    "twin",
    "twins",
    "sieve",
    "sieved",
    "teller",
    "kept",
    "stillborn",
    "asked",
    "somebody",
    "nobody",
    "tired",
    "spoilt",
    "wear",
    "wears",
    "house",
    "room",
    "rooms",
    "shelf",
    "ledger",
    "ledgers",
    "reader",
    "readers",
}
"""Words that no identifier may have as a part between underscores or capitals."""
FIELD_TERMS = {
    # what parses a table or a stream, as in csv.reader and asyncio.StreamReader
    "reader": re.compile(r"^(csv_|row_|line_|stream_)?reader$|^_?(Row|Record)Reader$"),
    # of an airline, in a post
    "crew": re.compile(r"^CABIN_CREW$"),
}
USER_FILES = [
    *ROOT.glob("*.md"),
    *(ROOT / "docs").glob("*.md"),
    *(ROOT / "prompts").rglob("*.jinja"),
    *(ROOT / "finetune").rglob("*.yaml"),
    *(ROOT / "eval").rglob("*.yaml"),
    *(ROOT / "eval").rglob("*.md"),
    *(ROOT / "deploy").rglob("*.yaml"),
]
RETIRED_IN_TEXT = re.compile(
    r"\bmend(s|ed|ing)?\b|--reader\b|\breaders?\b|\bledgers?\b|\bgates=|figures\.(json|csv|md)"
    r"|reading\.json|--known\b|--fresh\b|--max-bad\b|--against\b|\bknows nothing\b",
    re.IGNORECASE,
)


def parts(name: str) -> set[str]:
    """Return the words of an identifier: `read_HTTPBody` -> {read, http, body}."""
    spaced = re.sub(r"([a-z0-9])([A-Z])|([A-Z]+)([A-Z][a-z])", r"\1\3 \2\4", name)
    return {w.lower() for w in re.split(r"[\W_]+", spaced) if w}


def identifiers(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield every name that a module defines: functions, classes, parameters, variables, fields."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, node.lineno
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr, node.lineno
        elif isinstance(node, ast.ExceptHandler) and node.name:
            yield node.name, node.lineno


def retired_identifiers(source: str) -> list[tuple[str, int]]:
    return sorted(
        {
            (name, line)
            for name, line in identifiers(ast.parse(source))
            for word in parts(name) & RETIRED
            if not (word in FIELD_TERMS and FIELD_TERMS[word].search(name))
        },
        key=lambda item: item[1],
    )


def user_strings(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield texts: messages of errors and hints, help, docstrings."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            is_word_list = len(node.value.split()) > 30 and re.fullmatch(r"[\w\s'-]+", node.value)
            if not is_word_list:
                yield node.value, node.lineno


@pytest.mark.parametrize("path", PYTHON, ids=lambda p: str(p.relative_to(ROOT)))
def test_identifiers_use_no_retired_word(path: Path) -> None:
    assert retired_identifiers(path.read_text("utf-8")) == []


@pytest.mark.parametrize(
    "path",
    [p for p in PYTHON if p.is_relative_to(ROOT / "gen_msa")],
    ids=lambda p: str(p.relative_to(ROOT)),
)
def test_messages_and_docstrings_use_no_retired_word(path: Path) -> None:
    texts = user_strings(ast.parse(path.read_text("utf-8")))
    assert [(m[0], line) for text, line in texts if (m := RETIRED_IN_TEXT.search(text))] == []


@pytest.mark.parametrize("path", USER_FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_pages_prompts_and_recipes_use_no_retired_word(path: Path) -> None:
    lines = enumerate(path.read_text("utf-8").splitlines(), 1)
    assert [(n, m[0]) for n, line in lines if (m := RETIRED_IN_TEXT.search(line))] == []


@pytest.mark.parametrize(
    "source",
    [
        "said = 1",
        "def ask_reader(): ...",
        "class MendedRow: ...",
        "self.crew_size = 1",
        "f = lambda told: 0",
    ],
)
def test_check_finds_retired_words(source: str) -> None:
    assert retired_identifiers(source)


def test_check_leaves_words_of_the_field() -> None:
    assert retired_identifiers("gate = csv_reader = household = recommended = 1") == []
