"""Say what leaves this machine, and ask before the first post is sent to another one."""

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from gen_msa.report.style import printable

if TYPE_CHECKING:
    from gen_msa.data import ExampleSource
    from gen_msa.settings import Settings

SettingsT = TypeVar("SettingsT", bound="Settings")

YesOption = Annotated[
    bool,
    typer.Option("--yes", "-y", help="Send posts to the model's host, without asking first."),
]


def confirm_job(source: "ExampleSource", settings: SettingsT, *, yes: bool) -> SettingsT:
    """Print what a job sends to which other machine, and ask for what is not allowed yet.

    Args:
        source: The posts.
        settings: The job.
        yes: The user has agreed (`--yes`).

    Returns:
        The settings, with the hosts that the user agrees to.

    Raises:
        UserError: The user has not agreed, or nobody can be asked.
    """
    from gen_msa.predictors.outgoing import allow_hosts, describe_job

    hosts = confirm_sending([settings], lambda: describe_job(source, settings), yes=yes)
    return allow_hosts(settings, hosts)


def confirm_sending(
    settings: "Sequence[Settings]", describe: Callable[[], str], *, yes: bool
) -> list[str]:
    """Print what is sent to which other machine, and ask for what is not allowed yet.

    Args:
        settings: All settings that name models.
        describe: Says what is sent; called only if there is another machine.
        yes: The user has agreed (`--yes`).

    Returns:
        The hosts that the settings do not name, and that the user agrees to.

    Raises:
        UserError: The user has not agreed, or nobody can be asked.
    """
    from gen_msa.predictors.outgoing import not_permitted, remote_hosts

    hosts: dict[str, bool] = {}
    for each in settings:
        for host, allowed in remote_hosts(each).items():
            hosts[host] = hosts.get(host, True) and allowed
    if not hosts:
        return []
    what = describe()
    missing = [host for host, allowed in hosts.items() if not allowed]
    must_ask = bool(missing) and not yes
    refusal = not_permitted(missing, what)
    if must_ask and not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise refusal
    for host in hosts:
        print(f"sends to {printable(host)}: {what}", file=sys.stderr)
    question = f"send them to {printable(', '.join(missing))}?"
    if must_ask and not typer.confirm(question, default=False, err=True):
        raise refusal
    return missing
