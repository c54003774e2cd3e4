"""What the user asked for, as settings and a source: shared by `explain`, `annotate`, `preview`."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypeVar

import typer

from gen_msa.cli import _remote
from gen_msa.errors import UserError

if TYPE_CHECKING:
    from gen_msa.annotating import JobSettings, Shard
    from gen_msa.data import Source

J = TypeVar("J", bound="JobSettings")

Posts = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[POSTS] [KEY=VALUE]...",
        help="A file of posts or DATASET:SPLIT; then settings, e.g. picture.max_pixels=50176.",
        show_default=False,
    ),
]
Text = Annotated[str, typer.Option("--text", help="One post's text, instead of POSTS.")]
Image = Annotated[list[Path] | None, typer.Option("--image", help="A picture of that post.")]
AspectTerm = Annotated[
    list[str] | None, typer.Option("--aspect", help="What to ask about; may be repeated.")
]
Overall = Annotated[bool, typer.Option("--overall", help="Read each post as a whole.")]
ReaderName = Annotated[
    str | None,
    typer.Option(
        "--reader", "-r", help="builtin, echo, file:X, transformers:M, http:URL#M, vllm:M"
    ),
]
PromptName = Annotated[str | None, typer.Option("--prompt", "-p", help="A prompt's name or file.")]
Config = Annotated[Path | None, typer.Option("--config", help="YAML of settings.")]
FormatName = Annotated[str | None, typer.Option("--format", help="Format of POSTS; see `ls`.")]
MediaRoot = Annotated[
    Path | None, typer.Option("--media-root", help="Folder that picture paths are relative to.")
]

ShardOf = Annotated[
    str | None,
    typer.Option("--shard", metavar="i/n", help="Do share i of n; `gen-msa merge` joins them."),
]
Known = Annotated[
    list[Path] | None,
    typer.Option("--known", help="A ledger of other runs, whose answers are taken over."),
]
Engine = Annotated[
    str | None, typer.Option("--engine", help="local, or ray: readers on a cluster's machines.")
]
Address = Annotated[
    str | None,
    typer.Option("--address", help="Ray's HOST:PORT or auto; default: a cluster of its own."),
]


class Spread(NamedTuple):
    """How a job is spread over machines, as given."""

    shard: str | None
    known: Sequence[Path] | None
    engine: str | None
    address: str | None

    def settings(self) -> dict[str, str | None]:
        """What of this is a setting."""
        return {"engine": self.engine, "address": self.address}

    def share(self, *, kept: bool) -> "Shard | None":
        """The shard that was asked for, if any. `kept`: there is an -o to put it beside."""
        from gen_msa.annotating import Shard

        if (self.shard or self.known) and not kept:
            raise UserError("--shard and --known need -o FILE", mend="and --known no --fresh")
        return Shard.parse(self.shard) if self.shard else None


@dataclass(frozen=True)
class Asked:
    """The options that `explain` and `preview` share, as given."""

    posts: Sequence[str] | None
    text: str
    image: Sequence[Path] | None
    aspect: Sequence[str] | None
    overall: bool
    reader: str | None
    prompt: str | None
    config: Path | None
    format: str | None
    media_root: Path | None

    def settings(self, **more: Any) -> "JobSettings":
        """`JobSettings` from YAML, then `key=value`, then the options given (not None)."""
        from gen_msa.annotating import JobSettings

        return self.settings_of(JobSettings, **more)

    def settings_of(self, kind: type[J], **more: Any) -> J:
        """The same for another kind of job."""
        from gen_msa.settings import build, load

        base = load(kind, self.config, self._split()[1]).model_dump(exclude_unset=True)
        aspects = "overall" if self.overall else None
        options = {"reader": self.reader, "prompt": self.prompt, "aspects": aspects, **more}
        given = {k: v for k, v in options.items() if v is not None}
        return build(kind, base | given, "the command line")

    def source(self, *outs: Path | None) -> "Source":
        """A file, a corpus, or the one post given by `--text`; `outs` are not to be that file."""
        from gen_msa.data import open_source

        name = self._split()[0]
        _apart(Path(name) if name else None, *outs)
        one = bool(self.text or self.image or self.aspect)
        if name is not None and one:
            raise UserError("POSTS and --text/--image/--aspect exclude each other")
        if name is not None and _remote.is_remote(name):
            return _remote.source(name, format=self.format, media_root=self.media_root)
        if name is not None:
            return open_source(name, format=self.format, media_root=self.media_root)
        if not self.text and not self.image:
            raise UserError("nothing to read", mend="give a file, DATASET:SPLIT, or --text")
        return _one_post(self.text, self.image or (), self.aspect or ())

    def _split(self) -> tuple[str | None, list[str]]:
        """The one POSTS argument, if any, and the `key=value` settings."""
        posts: list[str] = []
        settings: list[str] = []
        for a in self.posts or ():
            # A file whose name holds "=" is still a file.
            (settings if "=" in a and not Path(a).exists() else posts).append(a)
        if len(posts) > 1:
            raise UserError(f"more than one POSTS: {', '.join(posts)}", mend="give one file a run")
        return (posts[0] if posts else None), settings


def _apart(posts: Path | None, *outs: Path | None) -> None:
    """Nothing that is read is written over, nor one output by another; no folder is a file."""
    first = outs[0] if outs else None
    beside = [first.with_suffix(s) for s in (*_remote.BESIDE, ".ledger")] if first else []
    written: set[Path] = set()
    for out in filter(None, (*outs, *beside)):
        if out.is_dir():
            raise UserError(f"{out} is a folder", mend="name a file in it: -o")
        if posts and posts.is_file() and out.exists() and out.samefile(posts):
            raise UserError(f"{posts} would be read and written over", mend="name another file: -o")
        if out.resolve() in written:
            raise UserError(f"{out} would be written twice", mend="give each output its own name")
        written.add(out.resolve())


def _one_post(text: str, images: Sequence[Path], aspects: Sequence[str]) -> "Source":
    from pydantic import ValidationError

    from gen_msa import jsonl
    from gen_msa.data import Source
    from gen_msa.data.formats import locate
    from gen_msa.types import Example, Media, Post

    absolute = [Path(os.path.abspath(p)) for p in images]  # noqa: PTH100  links stay links
    root = Path(os.path.commonpath([p.parent for p in absolute])) if absolute else Path()
    try:
        media = [Media(kind="image", path=p.relative_to(root).as_posix()) for p in absolute]
        post = Post(id="post", text=text, media=tuple(media), aspects=locate(text, aspects))
    except ValidationError as e:
        mend = "have the shell pass UTF-8, or put the post into a file"
        raise UserError(f"the post cannot be taken: {jsonl.reason_of(e)}", mend=mend) from None
    return Source("--text", root, lambda: iter([Example(post=post)]))
