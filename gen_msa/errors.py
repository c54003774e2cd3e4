"""The errors a user meets: what is wrong, where, and how to mend it.

Knows nothing of any room. `UserError` is for a job that cannot start or go on; a single bad row is
a `types.Rejected` instead, and the rest of the job goes on.

    raise UserError("no split named 'devel' in twitter2015", mend="use one of: train, dev, test")
"""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something the user can mend. Printed without a traceback; ends with `exit_code`."""

    exit_code = 2

    def __init__(self, problem: str, *, hint: str = "") -> None:
        super().__init__(f"{problem}\n  hint: {hint}" if hint else problem)
        self.problem = problem
        self.hint = hint


class MissingExtra(UserError):
    """An optional dependency is needed and not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"{package} is not installed", hint=f"pip install 'gen-msa[{extra}]' and try again"
        )


class Diverged(UserError):
    """A loss or gradient is not a finite number; nothing was updated. The exit code is 4."""

    exit_code = 4


class BackendUnavailable(UserError):
    """A model behind a server answers no more; the same command goes on later. Exit code 3."""

    exit_code = 3


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """A sentence for an unknown `name`: the nearest known one, and the whole list (at most 30)."""
    names = sorted(choices)
    matches = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    suggestion = f"did you mean {matches[0]!r}? " if matches else ""
    return f"{suggestion}known: {', '.join(names[:30]) or 'none'}{' …' if len(names) > 30 else ''}"
