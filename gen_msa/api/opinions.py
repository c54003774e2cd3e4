"""Opinions of a job as Python users want them: a sequence that becomes a table, a file or a page.

opinions = gm.explain(frame, text="caption", aspects=["price"])
opinions.to_pandas()
opinions.summary(by=["brand"])
"""

import html
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from gen_msa.data import ExampleSource, open_examples
from gen_msa.data.formats import formats
from gen_msa.errors import MissingExtra, UserError, did_you_mean
from gen_msa.report import CSV_COLUMNS, column_name, csv_cells, write_csv, write_html, write_xlsx
from gen_msa.report.opinion_tables import MAX_CELL_CHARS
from gen_msa.types import Example, Opinion, Polarity, Rejected

if TYPE_CHECKING:
    import pandas


class Opinions(Sequence[Opinion]):
    """What a model said of posts, with the posts themselves.

    The sequence holds the opinions of `annotators` in the order of the posts; `examples` holds
    every post with all its opinions, gold labels included.
    """

    def __init__(
        self,
        examples: Iterable[Example],
        *,
        annotators: Iterable[str] | None = None,
        media_root: str | Path = ".",
        name: str = "posts",
        rejected: Iterable[Rejected] = (),
        provenance: Mapping[str, str] | None = None,
    ) -> None:
        """Collect the opinions of some posts.

        Args:
            examples: Posts with their opinions.
            annotators: Whose opinions the sequence holds. Default: everyone's.
            media_root: Folder that image paths are relative to.
            name: Name of the data, for titles.
            rejected: Rows that could not be read or asked.
            provenance: What the job was (model, prompt, data hash, counts).
        """
        self.examples = tuple(examples)
        self.media_root = Path(media_root)
        self.name = name
        self.rejected = tuple(rejected)
        self.provenance = dict(provenance or {})
        names = None if annotators is None else set(annotators)
        self._rows = [
            (e, o)
            for e in self.examples
            for o in e.opinions
            if names is None or o.annotator in names
        ]

    @classmethod
    def read(cls, path: str | Path, *, annotator: str | None = None) -> "Opinions":
        """Read opinions that an earlier job wrote.

        Args:
            path: A JSONL or Parquet file of `gen-msa explain`, or any file of posts with labels.
            annotator: Only this one's opinions.

        Returns:
            The opinions with their posts, in the order of the file.

        Raises:
            UserError: There is no such file.
        """
        source = open_examples(str(path))
        rows = list(source.rows())
        return cls(
            (r for r in rows if isinstance(r, Example)),
            annotators=None if annotator is None else [annotator],
            media_root=source.media_root,
            name=source.name,
            rejected=(r for r in rows if isinstance(r, Rejected)),
        )

    @overload
    def __getitem__(self, index: int) -> Opinion: ...
    @overload
    def __getitem__(self, index: slice) -> list[Opinion]: ...
    def __getitem__(self, index: int | slice) -> Opinion | list[Opinion]:
        if isinstance(index, slice):
            return [o for _, o in self._rows[index]]
        return self._rows[index][1]

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Opinion]:
        return (o for _, o in self._rows)

    def __repr__(self) -> str:
        unparsed = sum(o.polarity is None and o.score is None for o in self)
        bad = f", {len(self.rejected):,} rejected rows" if self.rejected else ""
        return (
            f"<Opinions: {len(self):,} about {len(self.examples):,} posts, "
            f"{unparsed:,} unparsed{bad}>"
        )

    def _repr_html_(self) -> str:
        """Show the first rows as a table in a notebook."""
        frame = self.to_pandas().head(10)
        columns = ["text", "aspect", "polarity", "probability", "explanation"]
        return f"<p>{html.escape(repr(self))}</p>{frame[columns].to_html(escape=True, index=False)}"

    def source(self) -> ExampleSource:
        """Return the posts with opinions, rejected rows last, as a job reads them."""
        return ExampleSource(
            self.name, self.media_root, lambda: iter((*self.examples, *self.rejected))
        )

    def records(self) -> list[dict[str, Any]]:
        """Return one plain row an opinion: the columns of `--csv`, then the post's own columns.

        A column of the post's that is called like one of ours gets the prefix `meta.`.
        """
        rows = []
        for example, opinion in self._rows:
            cells = (_cell(c) for c in csv_cells(example.post, opinion))
            row = dict(zip(CSV_COLUMNS, cells, strict=True))
            meta = {column_name(k): v for k, v in example.post.meta.items()}
            rows.append({**row, **meta})
        return rows

    def to_pandas(self) -> "pandas.DataFrame":
        """Return a data frame with one row an opinion (see `records`)."""
        return import_pandas().DataFrame(self.records(), columns=None if len(self) else CSV_COLUMNS)

    def to_csv(self, path: str | Path) -> Path:
        """Write the CSV of `gen-msa explain --csv`: one row an opinion, safe for spreadsheets."""
        write_csv(self.examples, Path(path))
        return Path(path)

    def to_excel(self, path: str | Path) -> Path:
        """Write an XLSX file with one row an opinion; needs `pip install 'gen-msa[files]'`.

        Texts that begin like a formula stay texts.
        """
        if n_cut := write_xlsx(self.examples, Path(path)):
            note = (
                f"{path}: {n_cut} cells are cut: a cell holds at most {MAX_CELL_CHARS} characters"
            )
            warnings.warn(note, UserWarning, stacklevel=2)
        return Path(path)

    def to_parquet(self, path: str | Path) -> Path:
        """Write posts with opinions as Parquet, without loss; `read` reads them back equal."""
        formats["parquet"].write(Path(path), self.examples)
        return Path(path)

    def to_jsonl(self, path: str | Path) -> Path:
        """Write posts with opinions as JSON lines, without loss; `read` reads them back equal."""
        formats["jsonl"].write(Path(path), self.examples)
        return Path(path)

    def to_html(self, path: str | Path, *, title: str | None = None) -> Path:
        """Write the report of `gen-msa explain --html`: one file that works offline.

        Args:
            path: The file to write.
            title: Heading of the page. Default: the name of the data.

        Returns:
            The path of the page.
        """
        write_html(
            self.examples,
            Path(path),
            title=title or self.name,
            media_root=self.media_root,
            facts=self.provenance,
        )
        return Path(path)

    def summary(self, by: str | Sequence[str] = "aspect") -> "pandas.DataFrame":
        """Count opinions by columns, with shares of each class and their 95 % intervals.

        Args:
            by: Columns of `to_pandas`: `aspect`, `annotator`, or any of the posts' own (`brand`).

        Returns:
            One row a group, largest first: `posts`, `opinions`, `unparsed` (answers without a
            label, which no share counts), and for each class its share of the parsed ones with
            `_low` and `_high`. The intervals take opinions on one post as dependent. They are
            None where posts with several opinions are fewer than 5.

        Raises:
            UserError: There is no such column.
        """
        from gen_msa.metrics.statistics.intervals import SHARE, mean_interval

        frame, keys = self.to_pandas(), [by] if isinstance(by, str) else list(by)
        for key in keys:
            if key not in frame.columns:
                raise UserError(
                    f"the opinions have no column {key!r}", hint=did_you_mean(key, frame.columns)
                )
        rows = []
        for group, part in frame.groupby(keys, dropna=False, sort=False):
            parsed = part["polarity"].dropna()
            posts = [str(post) for post in part["post"][parsed.index]]
            row: dict[str, Any] = dict(zip(keys, group, strict=True))
            row |= {
                "posts": part["post"].nunique(),
                "opinions": len(part),
                "unparsed": len(part) - len(parsed),
            }
            for label in Polarity:
                hits = [float(polarity == label.value) for polarity in parsed]
                interval = mean_interval(hits, posts, bounds=SHARE)
                row |= {
                    label.value: sum(hits) / len(hits) if hits else None,
                    f"{label.value}_low": None if isnan(interval.low) else interval.low,
                    f"{label.value}_high": None if isnan(interval.low) else interval.high,
                }
            rows.append(row)
        if not rows:
            return import_pandas().DataFrame(columns=[*keys, "posts", "opinions", "unparsed"])
        table = import_pandas().DataFrame(rows)
        return table.sort_values("opinions", ascending=False, kind="stable", ignore_index=True)


def import_pandas() -> Any:
    """Import pandas. Raises `MissingExtra` where it is not installed."""
    try:
        import pandas
    except ModuleNotFoundError:
        raise MissingExtra("pandas", "pandas") from None
    return pandas


def _cell(value: Any) -> Any:
    """Return enumerations and structures as text, and plain values as they are."""
    if isinstance(value, str):
        return str(value)
    return value if isinstance(value, int | float) or value is None else str(value)
