"""Options that `explain`, `annotate` and `preview` share, and the settings made from them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypeVar

import typer

from gen_msa.cli import _remote
from gen_msa.errors import UserError

if TYPE_CHECKING:
    from gen_msa.annotation import JobSettings, Shard
    from gen_msa.data import ExampleSource

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
    list[str] | None, typer.Option("--aspect", help="An aspect of that post; repeatable.")
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
MediaRootOption = Annotated[
    Path | None, typer.Option("--media-root", help="Folder that image paths are relative to.")
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

        base = load(settings_type, self.config, self._split_arguments()[1]).model_dump(
            exclude_unset=True
        )
        aspects = "overall" if self.overall else None
        options = {"model": self.model, "prompt": self.prompt, "aspects": aspects, **extra}
        explicit = {k: v for k, v in options.items() if v is not None}
        return build(settings_type, base | explicit, "the command line")

    def source(self, *outs: Path | None) -> "ExampleSource":
        """Return the posts: a file, a data set, or the one post given by `--text`.

        Raises:
            UserError: There is nothing to read, or one of `outs` would overwrite the input.
        """
        from gen_msa.data import open_examples

        name = self._split_arguments()[0]
        _require_distinct_paths(Path(name) if name else None, *outs)
        has_single_post = bool(self.text or self.image or self.aspect)
        if name is not None and has_single_post:
            raise UserError("POSTS and --text/--image/--aspect exclude each other")
        if name is not None and _remote.is_remote(name):
            return _remote.source(name, format=self.format, media_root=self.media_root)
        if name is not None:
            return open_examples(name, format=self.format, media_root=self.media_root)
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
            (settings if "=" in a and not Path(a).exists() else posts).append(a)
        if len(posts) > 1:
            raise UserError(
                f"more than one POSTS: {', '.join(posts)}", hint="give one file per run"
            )
        return (posts[0] if posts else None), settings


def _require_distinct_paths(posts: Path | None, *outs: Path | None) -> None:
    """Raise `UserError` if an output is a folder, the input, or another output."""
    main_output = outs[0] if outs else None
    sidecar_files = (
        [main_output.with_suffix(s) for s in (*_remote.SIDECAR_SUFFIXES, ".cache")]
        if main_output
        else []
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
