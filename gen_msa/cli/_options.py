"""Options that commands share, the settings made from them, remote files, and terminal text."""

import atexit
import os
import re
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, Self, TypeVar

import typer

from gen_msa.cli._overwrite import check_replaceable
from gen_msa.errors import InputWarning, MissingExtra, UserError, did_you_mean
from gen_msa.jsonl import check_writable
from gen_msa.report.style import printable_lines

if TYPE_CHECKING:
    from rich.console import Console

    from gen_msa.annotation import JobSettings, Shard
    from gen_msa.data import ExampleSource
    from gen_msa.types import Polarity


# Text for the terminal: counted nouns, durations, and plain lines.


def count_noun(count: int, singular: str, plural: str = "") -> str:
    """Return `count` with the noun in the right number; `plural` defaults to `singular` + "s".

    Args:
        count: The number.
        singular: The noun for 1.
        plural: The noun for other numbers.
    """
    return f"{count:,} {singular if count == 1 else plural or f'{singular}s'}"


def format_duration(seconds: float) -> str:
    """Return a duration in seconds, minutes or hours, whichever reads best."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def set_strict(strict: bool) -> bool:
    """Make notes about the input an error if `strict`; return it, as a callback of the option."""
    if strict:
        warnings.simplefilter("error", InputWarning)
    return strict


def print_lines(console: "Console", lines: Iterable[str]) -> None:
    """Print each line as it is, but for control characters: no wrapping, no colours, no markup.

    Args:
        console: Where to print.
        lines: The lines.
    """
    for line in lines:
        console.print(printable_lines(line), highlight=False, soft_wrap=True, markup=False)


# Remote files (s3://, gs://, any fsspec address) as local files.


SIDECAR_SUFFIXES = (".rejected.jsonl", ".settings.yaml", ".summary.json")
"""Suffixes of the files that a job writes beside its output."""


class OutputLocation(NamedTuple):
    """The local path of an output, and the address it is uploaded to, if any."""

    local_path: Path | None
    url: str | None = None

    @classmethod
    def of(cls, out: str | None) -> Self:
        """Return the location for the value of -o."""
        if out is None or not is_remote(out):
            return cls(Path(out) if out else None)
        return cls(Path(PurePosixPath(out).name), out)

    def send(self, *files: Path) -> None:
        """Upload those of `files` that exist to the folder of the output."""
        if self.url is None:
            return
        system, path = _open_filesystem(self.url)
        for file in files:
            if file.is_file():
                target = f"{path.rpartition('/')[0]}/{file.name}"
                try:
                    _upload(system, file, target)
                except Exception as e:  # each fsspec store raises its own errors
                    raise UserError(
                        f"{file} cannot be uploaded to {self.url}: {e}",
                        hint="the local file is complete; run the same command again to upload it",
                    ) from e
                print(f"uploaded {system.unstrip_protocol(target)}", file=sys.stderr)

    def send_all(self) -> None:
        """Upload the output and its sidecar files; remove remote sidecars that no longer exist."""
        if self.local_path is None or self.url is None:
            return
        files = [self.local_path, *(self.local_path.with_suffix(s) for s in SIDECAR_SUFFIXES)]
        self.send(*files)
        system, path = _open_filesystem(self.url)
        for file in files:
            remote_path = f"{path.rpartition('/')[0]}/{file.name}"
            if not file.is_file() and system.exists(remote_path):
                system.rm_file(remote_path)
                print(f"removed {system.unstrip_protocol(remote_path)}", file=sys.stderr)


def _upload(system: Any, file: Path, target: str) -> None:
    try:
        system.put_file(str(file), target)
    except FileNotFoundError:  # the store has folders, and this one does not exist yet
        system.makedirs(target.rpartition("/")[0], exist_ok=True)
        system.put_file(str(file), target)


def is_remote(name: str) -> bool:
    """Return whether `name` is an address (SCHEME://…)."""
    return bool(re.match(r"[A-Za-z][A-Za-z0-9+.-]+(::[A-Za-z0-9+.-]+)*://", name))


def source(
    url: str,
    *,
    format: str | None,
    media_root: Path | None,
    **reading: Any,
) -> "ExampleSource":
    """Return the examples of a remote file; rejected rows name the address as their file.

    Args:
        url: The address.
        format: Format of the file; None: by its suffix.
        media_root: Folder that image paths are relative to.
        reading: Further arguments of `open_examples`.
    """
    from gen_msa.data import ExampleSource, open_examples
    from gen_msa.types import Example, Rejected

    folder = tempfile.mkdtemp(prefix="gen-msa-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (path,) = fetch_files([url], Path(folder))
    local_source = open_examples(
        str(path),
        format=format,
        media_root=media_root or Path(),
        **reading,
    )

    def rows() -> Iterator[Example | Rejected]:
        for row in local_source.rows():
            is_local_reject = isinstance(row, Rejected) and row.file == str(path)
            yield row.model_copy(update={"file": url}) if is_local_reject else row

    return ExampleSource(url, local_source.media_root, rows)


def fetch_files(names: Sequence[str], folder: Path) -> list[Path]:
    """Return local paths: remote files are downloaded to `folder`; `*` in an address works.

    Args:
        names: Paths and addresses.
        folder: Gets the downloads.
    """
    local_paths: list[Path] = []
    for name in names:
        if not is_remote(name):
            local_paths.append(Path(name))
            continue
        system, path = _open_filesystem(name)
        try:
            paths = sorted(system.glob(path)) if "*" in path else [path]
            for remote_path in paths:
                # One folder per file: two addresses may end in the same file name.
                local_paths.append(folder / str(len(local_paths)) / PurePosixPath(remote_path).name)
                local_paths[-1].parent.mkdir()
                system.get_file(remote_path, str(local_paths[-1]))
        except Exception as e:  # each fsspec store raises its own errors
            raise UserError(
                f"{name} cannot be downloaded: {e}", hint="check address and credentials"
            ) from e
    return local_paths


def _open_filesystem(url: str) -> tuple[Any, str]:
    """Return the fsspec file system of an address, and the path in it."""
    try:
        import fsspec
    except ImportError:
        raise MissingExtra("fsspec", "ray") from None
    try:
        return fsspec.core.url_to_fs(url)  # type: ignore[no-any-return]
    except (ImportError, ValueError) as e:
        raise UserError(
            f"{url} cannot be opened: {e}", hint="s3:// needs pip install s3fs, gs:// gcsfs"
        ) from e


SettingsT = TypeVar("SettingsT", bound="JobSettings")

PostsArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[POSTS] [KEY=VALUE]...",
        help="A file of posts or DATASET:SPLIT; then settings, e.g. image.max_pixels=50176.",
        show_default=False,
    ),
]
TextOption = Annotated[str, typer.Option("--text", help="One post's text, instead of POSTS.")]
ImageOption = Annotated[
    list[Path] | None, typer.Option("--image", help="An image of that post; repeatable.")
]
AspectOption = Annotated[
    list[str] | None,
    typer.Option("--aspect", help="An aspect of that post, or of every post of POSTS; repeatable."),
]
OverallOption = Annotated[
    bool, typer.Option("--overall", help="Ask for the sentiment of each post as a whole.")
]
ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        help="builtin, transformers:M, http:URL#M, student:DIR, recorded:FILE, …; see `ls models`.",
    ),
]
PromptOption = Annotated[
    str | None, typer.Option("--prompt", "-p", help="A prompt's name or file.")
]
ConfigOption = Annotated[Path | None, typer.Option("--config", help="YAML of settings.")]
FormatOption = Annotated[str | None, typer.Option("--format", help="Format of POSTS; see `ls`.")]
MapOption = Annotated[
    list[str] | None,
    typer.Option(
        "--map",
        metavar="FIELD=COLUMN",
        help="The column or key that holds a field: text=caption, text=data.body; repeatable.",
    ),
]
PseudonymizeOption = Annotated[
    str | None,
    typer.Option(
        "--pseudonymize",
        metavar="KINDS",
        help="Send placeholders for handles,names,urls,emails,phones (some, or all); opinions have "
        "the originals.",
    ),
]
SepOption = Annotated[
    str | None,
    typer.Option("--sep", help="The character between cells, where it is not detected: ';', tab."),
]
EncodingOption = Annotated[
    str | None,
    typer.Option("--encoding", help="The encoding, where it is not detected: gb18030, shift_jis."),
]
SheetOption = Annotated[
    str | None, typer.Option("--sheet", help="The sheet of a workbook. Default: the first.")
]
LabelMapOption = Annotated[
    list[str] | None,
    typer.Option(
        "--label-map",
        metavar="LABEL=POLARITY",
        help="What a gold label in the file means: 1=positive, bof=neutral; repeatable.",
    ),
]
MediaRootOption = Annotated[
    Path | None, typer.Option("--media-root", help="Folder that image paths are relative to.")
]

StrictOption = Annotated[
    bool,
    typer.Option(
        "--strict",
        callback=set_strict,
        help="Fail on notes about the input, and on any failed row or image.",
    ),
]
MaxErrorRateOption = Annotated[
    float | None,
    typer.Option(
        "--max-error-rate",
        help="Share of failed rows, or of images that cannot be read (0 to 1), above which the "
        "exit code is 3.",
    ),
]
ShardOption = Annotated[
    str | None,
    typer.Option(
        "--shard", metavar="i/n", help="Run shard i of n; `gen-msa merge` joins the parts."
    ),
]
ReuseCacheOption = Annotated[
    list[Path] | None,
    typer.Option("--reuse-cache", help="Answer cache (.cache) of another run; repeatable."),
]
EngineOption = Annotated[
    str | None, typer.Option("--engine", help="local, or ray: workers on a Ray cluster.")
]
AddressOption = Annotated[
    str | None,
    typer.Option(
        "--address", help="Address of the Ray cluster (HOST:PORT or auto). Default: start one here."
    ),
]


def parse_columns(pairs: Sequence[str] | None) -> dict[str, str]:
    """Return the values of --map as field -> column.

    Args:
        pairs: The values, FIELD=COLUMN each.

    Raises:
        UserError: A value is no pair, or names no field, or a field twice.
    """
    from gen_msa.data.formats.base import FIELDS

    columns: dict[str, str] = {}
    for pair in pairs or ():
        field, equals, column = pair.partition("=")
        if not equals or not column:
            raise UserError(f"--map {pair} is not FIELD=COLUMN", hint="e.g. --map text=caption")
        if field not in FIELDS:
            raise UserError(f"--map: no field {field!r}", hint=did_you_mean(field, FIELDS))
        if field in columns:
            raise UserError(f"--map names {field} twice", hint="give each field one column")
        columns[field] = column
    return columns


def parse_labels(pairs: Sequence[str] | None) -> "dict[str, Polarity] | None":
    """Return the values of --label-map as spelling -> polarity; None without any.

    Args:
        pairs: The values, LABEL=POLARITY each.

    Raises:
        UserError: A value is no pair, names no polarity, or gives a label a second meaning.
    """
    if not pairs:
        return None
    from gen_msa.data.formats import parse_label_map

    names: dict[str, str] = {}
    for pair in pairs:
        label, equals, name = pair.rpartition("=")
        if not equals or not label.strip():
            raise UserError(f"--label-map {pair} is not LABEL=POLARITY", hint="e.g. 1=positive")
        if names.setdefault(label, name) != name:
            raise UserError(f"--label-map names {label} twice", hint="give it one meaning")
    return parse_label_map(names)


class ParallelOptions(NamedTuple):
    """The options that spread a job over shards and machines."""

    shard: str | None
    reuse_cache: Sequence[Path] | None
    engine: str | None
    address: str | None

    def settings(self) -> dict[str, str | None]:
        """Return the part of the options that is a setting of the job."""
        return {"engine": self.engine, "address": self.address}

    def parse_shard(self, *, has_output: bool) -> "Shard | None":
        """Return the shard of `--shard`, or None; `has_output`: parts can be written beside -o."""
        from gen_msa.annotation import Shard

        if (self.shard or self.reuse_cache) and not has_output:
            raise UserError(
                "--shard and --reuse-cache need -o FILE", hint="--reuse-cache excludes --no-cache"
            )
        return Shard.parse(self.shard) if self.shard else None


@dataclass(frozen=True)
class JobOptions:
    """The common options of the three commands; None where an option was not given."""

    posts: Sequence[str] | None
    text: str
    image: Sequence[Path] | None
    aspect: Sequence[str] | None
    overall: bool
    model: str | None
    prompt: str | None
    config: Path | None
    format: str | None
    media_root: Path | None
    columns: Sequence[str] | None = None
    """Values of --map."""
    labels: Sequence[str] | None = None
    """Values of --label-map."""
    pseudonymize: str | None = None
    """Kinds of items, as `handles,urls`."""
    overwrite: bool = False
    """Replace files that no job has written."""
    sep: str | None = None
    encoding: str | None = None
    sheet: str | None = None

    def settings(self, **extra: Any) -> "JobSettings":
        """Return `JobSettings` from YAML, then `key=value`, then options that are not None."""
        from gen_msa.annotation import JobSettings

        return self.settings_of(JobSettings, **extra)

    def settings_of(self, settings_type: type[SettingsT], **extra: Any) -> SettingsT:
        """Return settings of the given type, merged as `settings` does.

        Args:
            settings_type: The type.
            extra: Further settings; None is ignored.
        """
        from gen_msa.settings import build, load

        posts, overrides = self._split_arguments()
        base = load(settings_type, self.config, overrides).model_dump(exclude_unset=True)
        options = {
            "model": self.model,
            "prompt": self.prompt,
            "aspects": "overall" if self.overall else None,
            "fixed_aspects": tuple(self.aspect) if posts and self.aspect else None,
            "pseudonymize": self.pseudonymize,
            "label_map": parse_labels(self.labels),
            "columns": parse_columns(self.columns) or None,
            "sep": self.sep,
            "encoding": self.encoding,
            "sheet": self.sheet,
            **extra,
        }
        explicit = {k: v for k, v in options.items() if v is not None}
        return build(settings_type, base | explicit, "the command line")

    def source(self, settings: "JobSettings", *outs: Path | None) -> "ExampleSource":
        """Return the posts: a file, a data set, or the one post given by `--text`.

        Args:
            settings: The job, which says how the file is read.
            outs: The files that will be written.

        Raises:
            UserError: There is nothing to read, one of `outs` would overwrite the input or a file
                that no job has written, or it or a file beside it cannot be written.
        """
        from gen_msa.data import open_examples

        name = self._split_arguments()[0]
        _check_outputs(Path(name) if name else None, *outs)
        for out in filter(None, outs):
            check_replaceable(out, overwrite=self.overwrite)
        if name is not None and (self.text or self.image):
            raise UserError("POSTS and --text/--image exclude each other")
        if name is not None and is_remote(name):
            return source(
                name, format=self.format, media_root=self.media_root, **settings.reading()
            )
        if name is not None:
            return open_examples(
                name, format=self.format, media_root=self.media_root, **settings.reading()
            )
        if not self.text and not self.image:
            raise UserError("no input", hint="give a file, DATASET:SPLIT, or --text")
        from gen_msa.api.posts import post_from_text

        return post_from_text(self.text, self.image or (), self.aspect or ()).source()

    def _split_arguments(self) -> tuple[str | None, list[str]]:
        """Split the arguments into the one POSTS argument, if any, and the `key=value` settings."""
        posts: list[str] = []
        settings: list[str] = []
        for a in self.posts or ():
            # A file whose name holds "=" is still a file.
            is_file = os.path.exists(a)  # noqa: PTH110  Path.exists fails for a long setting
            (settings if "=" in a and not is_file else posts).append(a)
        if len(posts) > 1:
            raise UserError(
                f"more than one POSTS: {', '.join(posts)}", hint="give one file per run"
            )
        return (posts[0] if posts else None), settings


def _check_outputs(posts: Path | None, *outs: Path | None) -> None:
    """Raise `UserError` if an output is a folder, the input, another output or not writable."""
    main_output = outs[0] if outs else None
    sidecar_files = (
        [main_output.with_suffix(s) for s in (*SIDECAR_SUFFIXES, ".cache")] if main_output else []
    )
    resolved_outputs: set[Path] = set()
    for out in filter(None, (*outs, *sidecar_files)):
        if out.is_dir():
            raise UserError(f"{out} is a folder", hint="give a file in it: -o")
        if posts and posts.is_file() and out.exists() and out.samefile(posts):
            raise UserError(f"{posts} is both input and output", hint="give another file: -o")
        if out.resolve() in resolved_outputs:
            raise UserError(f"{out} would be written twice", hint="give each output its own name")
        resolved_outputs.add(out.resolve())
        check_writable(out)
