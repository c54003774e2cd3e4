"""Ask a model about posts: the Python side of `gen-msa explain` and `gen-msa annotate`.

model = load("builtin")
model.explain("Great screen, awful battery", aspects=["screen", "battery"])
explain(frame, text="caption", image="img_path", aspects=["price"], model="builtin")
"""

import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter

from gen_msa import jsonl
from gen_msa.annotation import (
    AnnotateSettings,
    FilteredAnswer,
    JobCounts,
    JobResult,
    JobSettings,
    Teacher,
    make_job_teacher,
)
from gen_msa.annotation import annotate as run_job
from gen_msa.api.opinions import Opinions
from gen_msa.api.posts import AspectLike, PostsLike, as_posts
from gen_msa.data import ExampleSource
from gen_msa.data.given_aspects import with_fixed_aspects
from gen_msa.errors import UserError
from gen_msa.predictors import RequestPreview
from gen_msa.predictors.language_counts import language_lines
from gen_msa.predictors.outgoing import allow_hosts
from gen_msa.report.style import unused_line
from gen_msa.settings import build
from gen_msa.types import Example, Rejected

SettingsT = TypeVar("SettingsT", bound=JobSettings)

_REJECTED_ROW: TypeAdapter[FilteredAnswer | Rejected] = TypeAdapter(FilteredAnswer | Rejected)


class SentimentModel:
    """A model that is loaded once and asked many times. Made by `load`."""

    def __init__(self, settings: JobSettings, teacher: Teacher, media_root: Path) -> None:
        self.settings = settings
        """Every setting, defaults included."""
        self._teacher = teacher
        self._media_root = media_root

    def __repr__(self) -> str:
        return f"<SentimentModel: {self.settings.model}>"

    def explain(
        self,
        posts: PostsLike,
        *,
        aspects: str | Sequence[AspectLike] | None = None,
        text: str = "text",
        image: str | None = None,
        id: str = "id",
        progress: bool | None = None,
    ) -> Opinions:
        """Say what each post feels about each aspect, why, and in which words.

        Args:
            posts: A text, a path, posts, rows or a data frame (see `as_posts`).
            aspects: Aspects for every post, or the name of a column. Default: those that the posts
                list; else the model finds them.
            text: Column of the text.
            image: Column of the image's path.
            id: Column of the id.
            progress: Show a progress bar. Default: on a terminal and in notebooks.

        Returns:
            The model's opinions. Rows that could not be read are in `rejected`, with a warning.

        Raises:
            UserError: The posts cannot be read, or no post could be asked.
        """
        source = as_posts(
            posts,
            aspects=aspects,
            text=text,
            image=image,
            id=id,
            media_root=self._media_root,
            reading=self.settings.reading(),
        ).source()
        return run(source, self.settings, teacher=self._teacher, progress=progress)

    def preview(
        self, posts: PostsLike, *, aspects: str | Sequence[AspectLike] | None = None
    ) -> list[RequestPreview]:
        """Return the questions that `explain` would ask, with prompt, cues and tokens; asks none.

        Args:
            posts: As for `explain`.
            aspects: As for `explain`.
        """
        loaded = as_posts(posts, aspects=aspects, media_root=self._media_root)
        source = with_fixed_aspects(loaded.source(), self.settings.fixed_aspects)
        return self._teacher.preview([e for e in source.rows() if isinstance(e, Example)])

    def fingerprint(self) -> dict[str, Any]:
        """Return named parts that change whenever the model's answers could."""
        return dict(self._teacher.fingerprint())


def load(
    model: str = "builtin",
    *,
    media_root: str | Path = ".",
    send_to: Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
    **options: Any,
) -> SentimentModel:
    """Load a model.

    Args:
        model: As `--model`: `builtin`, `transformers:MODEL[@ADAPTER]`, `http:URL#MODEL`,
            `vllm:MODEL[@ADAPTER]`, `student:DIR`, `recorded:FILE`, `echo`.
        media_root: Folder that image paths of posts are relative to.
        send_to: Hosts other than this machine that posts may be sent to: `["api.example.com"]`.
        settings: Any settings of `gen-msa explain`, nested as in YAML.
        **options: The same, by name: `prompt="predict/full"`, `cues={}`, `explanations=False`.

    Returns:
        The loaded model; it is asked by `explain`.

    Raises:
        UserError: No such model, or a setting that does not exist.
        MissingExtra: A package is not installed; the message says which extra brings it.
    """
    built = _settings(JobSettings, model, settings, options, send_to)
    root = Path(media_root)
    source = ExampleSource("posts", root, lambda: iter(()))
    return SentimentModel(built, make_job_teacher(source, built), root)


def explain(
    posts: PostsLike,
    *,
    model: str | SentimentModel = "builtin",
    aspects: str | Sequence[AspectLike] | None = None,
    text: str = "text",
    image: str | None = None,
    id: str = "id",
    format: str | None = None,
    media_root: str | Path | None = None,
    cache: str | Path | None = None,
    progress: bool | None = None,
    send_to: Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
    **options: Any,
) -> Opinions:
    """Say what each post feels about each aspect; the same code and numbers as `gen-msa explain`.

    Args:
        posts: A text, a path, posts, rows or a data frame (see `as_posts`).
        model: As for `load`, or a loaded `SentimentModel`.
        aspects: Aspects for every post, or the name of a column that lists them. Default: those
            that the posts list; else the model finds them.
        text: Column of the text.
        image: Column of the image's path.
        id: Column of the id. Rows without one are numbered.
        format: Format of a file, where its suffix does not tell.
        media_root: Folder that image paths are relative to. Default: the file's folder, or `.`.
        cache: File that keeps answers: a job that is stopped goes on with it.
        progress: Show a progress bar. Default: on a terminal and in notebooks.
        send_to: Hosts other than this machine that posts may be sent to: `["api.example.com"]`.
        settings: Any settings of `gen-msa explain`, nested as in YAML.
        **options: The same, by name: `prompt="predict/full"`, `workers=2`.

    Returns:
        The model's opinions. Rows that could not be read are in `rejected`, with a warning.

    Raises:
        UserError: The posts or the model cannot be read, no post could be asked, or the model's
            host is another machine that `send_to` does not name.
    """
    if isinstance(model, SentimentModel) and (settings or options or send_to):
        raise UserError("a loaded model has its settings", hint="give them to `load`")
    built = (
        model.settings
        if isinstance(model, SentimentModel)
        else _settings(JobSettings, model, settings, options, send_to)
    )
    loaded = as_posts(
        posts,
        aspects=aspects,
        text=text,
        image=image,
        id=id,
        format=format,
        media_root=media_root,
        reading=built.reading(),
    )
    if isinstance(model, SentimentModel):
        return run(loaded.source(), built, teacher=model._teacher, progress=progress)
    return run(loaded.source(), built, cache=cache, progress=progress)


def annotate(
    posts: PostsLike,
    *,
    model: str,
    prompt: str,
    aspects: str | Sequence[AspectLike] | None = None,
    filters: Mapping[str, Mapping[str, Any]] | None = None,
    format: str | None = None,
    media_root: str | Path | None = None,
    cache: str | Path | None = None,
    progress: bool | None = None,
    send_to: Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
    **options: Any,
) -> Opinions:
    """Have a teacher write labels, rationales or contexts, and keep what passes filters.

    The same code as `gen-msa annotate`.

    Args:
        posts: A path, posts, rows or a data frame (see `as_posts`).
        model: The teacher, as for `load`.
        prompt: A teacher's prompt: `teacher/rationale`, `teacher/label`, `teacher/context`, …
        aspects: A list: the aspects of every post, in place of its own. A text: the setting
            `aspects`, which says where they come from.
        filters: Filter -> its options, as `gen-msa ls filters` lists them.
        format: Format of a file, where its suffix does not tell.
        media_root: Folder that image paths are relative to.
        cache: File that keeps answers: a job that is stopped goes on with it.
        progress: Show a progress bar. Default: on a terminal and in notebooks.
        send_to: Hosts other than this machine that posts may be sent to: `["api.example.com"]`.
        settings: Any settings of `gen-msa annotate`, nested as in YAML.
        **options: The same, by name: `retries=2`, `guided=True`.

    Returns:
        The accepted opinions; rejected answers are in `rejected` with their reasons.

    Raises:
        UserError: The posts or the model cannot be read, no post could be asked, or the model's
            host is another machine that `send_to` does not name.
    """
    is_setting = isinstance(aspects, str)
    listed = None if is_setting else aspects
    options |= {"prompt": prompt, "filters": dict(filters or {})}
    options |= {"aspects": aspects} if is_setting else {}
    built = _settings(AnnotateSettings, model, settings, options, send_to)
    loaded = as_posts(
        posts, aspects=listed, format=format, media_root=media_root, reading=built.reading()
    )
    return run(loaded.source(), built, cache=cache, progress=progress)


def run(
    source: ExampleSource,
    settings: JobSettings,
    *,
    teacher: Teacher | None = None,
    cache: str | Path | None = None,
    progress: bool | None = None,
) -> Opinions:
    """Run a job over a source and hold its result in memory.

    Args:
        source: The posts.
        settings: The job's settings.
        teacher: A loaded model, made with the same settings.
        cache: File that keeps answers for the next run.
        progress: Show a progress bar. Default: on a terminal and in notebooks.

    Returns:
        The opinions of the job's model.
    """
    with tempfile.TemporaryDirectory(prefix="gen-msa-") as folder:
        out = Path(folder, "opinions.jsonl")
        with _progress(source, settings, progress) as on_progress:
            result = run_job(
                source,
                out,
                settings,
                cache_path=None if cache is None else Path(cache),
                teacher=teacher,
                on_progress=on_progress,
            )
        examples = [e for e in jsonl.read(out, Example) if isinstance(e, Example)]
        rejected = _rejected(result)
    _warn(result, settings.model)
    return Opinions(
        examples,
        annotators=[settings.model],
        media_root=source.media_root,
        name=source.name,
        rejected=rejected,
        provenance=report_facts(source.name, settings, result),
    )


def report_facts(source: str, settings: JobSettings, result: JobResult) -> dict[str, str]:
    """Return what a report says about the job that made it.

    Args:
        source: Name of the data.
        settings: The job's settings.
        result: What the job returned.
    """
    counts, predictor_settings = result.counts, result.fingerprint.get("settings")
    prompt = (
        predictor_settings.get("prompt", "") if isinstance(predictor_settings, dict) else "none"
    )
    return {
        "model": settings.model,
        "revision": str(result.fingerprint.get("revision", "")),
        "prompt": str(prompt),
        "data": f"{source} (sha256 {result.posts_sha256[:12]})",
        "posts": f"{counts.written:,} of {counts.rows:,}",
        "opinions": f"{counts.opinions:,}, {counts.unparsed:,} unparsed",
        **({"images": counts.image_line().removeprefix("images: ")} if counts.images else {}),
        **_language_facts(language_lines(counts.languages, settings.model)),
        "not used": unused_line(result.unused).removeprefix("not used: "),
        **({"notes": "; ".join(result.notes.texts)} if result.notes.texts else {}),
    }


def _language_facts(lines: Sequence[str]) -> dict[str, str]:
    """Return the languages of the posts, and those that the model was not trained on."""
    values = [line.removeprefix("languages: ") for line in lines]
    return {"languages": "; ".join(values)} if values else {}


def _rejected(result: JobResult) -> list[Rejected]:
    """Return the rows that were set aside; answers that failed a filter are among them."""
    if result.rejected_file is None:
        return []
    lines = result.rejected_file.read_bytes().splitlines()
    return [_REJECTED_ROW.validate_json(line) for line in lines]


def _warn(result: JobResult, model: str) -> None:
    counts = result.counts
    problems = {
        "rows could not be read": counts.rejected,
        "posts could not be asked": counts.unanswered,
        "answers could not be parsed": counts.unparsed,
    }
    if counts.unseen_rate():
        warnings.warn(counts.image_line(), stacklevel=4)
    for line in language_lines(counts.languages, model)[1:]:
        warnings.warn(line, stacklevel=4)
    text = ", ".join(f"{n:,} {problem}" for problem, n in problems.items() if n)
    if text:
        warnings.warn(f"of {counts.rows:,} rows, {text}", stacklevel=4)


def _settings(
    kind: type[SettingsT],
    model: str,
    settings: Mapping[str, Any] | None,
    options: Mapping[str, Any],
    send_to: Sequence[str],
) -> SettingsT:
    built = build(kind, {**(settings or {}), **options, "model": model}, "the call")
    if isinstance(send_to, str):
        raise UserError(f"send_to={send_to!r} is no list", hint=f"write send_to=[{send_to!r}]")
    return allow_hosts(built, send_to)


@contextmanager
def _progress(
    source: ExampleSource, settings: JobSettings, wanted: bool | None
) -> Iterator[Callable[[JobCounts], None]]:
    from rich.console import Console

    from gen_msa.api.progress import progress_bar

    in_notebook = _in_notebook()
    console = Console(stderr=not in_notebook, force_jupyter=in_notebook or None)
    if wanted is False or (wanted is None and not (console.is_terminal or in_notebook)):
        yield lambda _: None
        return
    with progress_bar(source, settings.limit, console) as advance:
        yield advance


def _in_notebook() -> bool:
    """Return whether a notebook runs this that can draw a progress bar (with ipywidgets)."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    is_kernel = type(shell).__name__ == "ZMQInteractiveShell"
    return is_kernel and find_spec("ipywidgets") is not None
