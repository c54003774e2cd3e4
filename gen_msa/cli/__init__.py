"""The command line: one file per command; heavy imports happen only when a command runs.

gen-msa --help
"""

import gc
import io
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

import typer

from gen_msa import __version__
from gen_msa.cli import (
    annotate,
    convert,
    demo,
    doctor,
    evaluate,
    explain,
    export,
    export_log,
    leakage,
    merge,
    preview,
    resources,
    serve,
    train,
)
from gen_msa.errors import CacheWarning, InputWarning, as_user_error
from gen_msa.report.style import printable, printable_lines

_OBJECTS_PER_COLLECTION = 50_000
app = typer.Typer(
    name="gen-msa",
    help="Multimodal aspect-based sentiment: polarity, probability, explanation and evidence.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(explain.explain)
app.command()(annotate.annotate)
app.command()(merge.merge)
app.command()(preview.preview)
app.command()(convert.convert)
app.command()(train.finetune)
app.command()(train.distill)
app.command()(evaluate.evaluate)
app.command()(leakage.leakage)
app.command()(export.export)
app.command()(serve.serve)
app.command("export-log")(export_log.export_log)
app.command("ls")(resources.ls)
app.command()(resources.show)
app.command("cp")(resources.cp)
app.command()(doctor.doctor)
app.command()(demo.demo)


def _print_version(requested: bool) -> None:
    if requested:
        print(__version__)
        raise typer.Exit


@app.callback()
def _root_options(
    version: bool = typer.Option(
        False, "--version", callback=_print_version, is_eager=True, help="Print the version."
    ),
) -> None: ...


@contextmanager
def _handle_signals() -> Iterator[None]:
    """Exit with 130 on Ctrl-C and 143 on SIGTERM, also as the first process of a container.

    `SystemExit` unwinds the stack, so temporary files (fetched posts, partial output) are removed.
    """

    def on_signal(number: int, _: object) -> None:
        print("gen-msa: stopped; finished answers are kept", file=sys.stderr)
        sys.exit(128 + number)

    is_main_thread = threading.current_thread() is threading.main_thread()
    previous_handlers = {
        n: signal.signal(n, on_signal) for n in (signal.SIGINT, signal.SIGTERM) if is_main_thread
    }
    try:
        yield
    finally:
        for number, handler in previous_handlers.items():
            signal.signal(number, handler)


def _print_notes_only() -> None:
    """Print an `InputWarning` or a `CacheWarning` as a note, and no warning of a library."""
    show_other = warnings.showwarning

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if issubclass(category, InputWarning | CacheWarning):
            print(f"note: {printable(str(message))}", file=sys.stderr)
        else:
            show_other(message, category, filename, lineno, file, line)

    if not sys.warnoptions:  # python -W shows everything
        warnings.simplefilter("ignore")
        warnings.simplefilter("default", InputWarning)
        warnings.simplefilter("default", CacheWarning)
        warnings.showwarning = show


def main() -> None:
    """Run the `gen-msa` command. What the user can fix is printed without a traceback.

    The exit code is the error's own (`UserError.exit_code`).
    """
    # Models are local files or named servers; no library may contact the hub unasked.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    for stream in (sys.stdout, sys.stderr):
        # A terminal of another encoding shows an escape for what it lacks.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    _print_notes_only()
    # Imports make many objects and no garbage; looking for it at every 700th is 5 % of a start.
    gc.set_threshold(_OBJECTS_PER_COLLECTION)
    try:
        with _handle_signals():
            app()
    except BrokenPipeError:
        # The process that reads our output (head, less) has closed it: not an error.
        sys.stderr.close()
        sys.exit(0)
    except InputWarning as e:
        print(f"gen-msa: {printable_lines(str(e))}", file=sys.stderr)
        print("  hint: correct the input, or leave out --strict", file=sys.stderr)
        sys.exit(2)
    except BaseException as e:
        error = as_user_error(e)
        if error is None:
            raise
        print(f"gen-msa: {printable_lines(str(error))}", file=sys.stderr)
        sys.exit(error.exit_code)
