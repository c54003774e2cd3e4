"""Results that papers printed, from `eval/published/`, in our units and with their citation.

A file has the rows of one task on one split. Values are written as printed (`percent`), so that
they can be compared with the paper by eye, and are converted to shares; `plain` values stay as they
are. Each row has a `source`, and a `protocol` that says what makes it comparable or not.

    load(["twitter2015_masc"])                  # every row
    load(["twitter2015_masc#TomBERT"])          # one row
    tables_for("twitter2015:test")              # names of the files about that split
"""

from collections.abc import Iterable
from typing import Literal, Self

from pydantic import Field, model_validator

from gen_msa import resources, settings
from gen_msa.errors import UserError, did_you_mean
from gen_msa.results import PublishedResult
from gen_msa.settings import Settings

FOLDER = "eval/published"


class PublishedRow(Settings):
    """The results of one system."""

    name: str = Field(min_length=1)
    percent: dict[str, float] = Field(default_factory=dict)
    """`family.metric` -> as printed, 0..100."""
    plain: dict[str, float] = Field(default_factory=dict)
    """`family.metric` -> as printed, for values that are not shares (MAE, r)."""
    source: str = ""
    """Empty: that of the file."""
    protocol: str = ""
    """What applies to this row in addition to the file's protocol."""

    @model_validator(mode="after")
    def _check_metrics(self) -> Self:
        duplicates = self.percent.keys() & self.plain.keys()
        if duplicates or not (self.percent or self.plain):
            raise ValueError(f"{self.name}: give each metric once, under percent or plain")
        for name, value in (self.percent | self.plain).items():
            if not all(name.partition(".")):
                raise ValueError(f"{self.name}: {name!r} is not family.metric")
            if name in self.percent and not 0 <= value <= 100:
                raise ValueError(f"{self.name}: {name} is {value}, no percentage")
        return self


class PublishedTable(Settings):
    """One file: the systems of one task on one split."""

    data: str = Field(min_length=1)
    split: str = Field(min_length=1)
    task: Literal["masc", "jmasa", "overall", "intensity"]
    source: str = Field(min_length=1)
    """Citation, with the table."""
    protocol: str = Field(min_length=1)
    """Split, classes, kind of F1, images, seeds, choice of checkpoint: what all rows share."""
    rows: tuple[PublishedRow, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _check_unique_names(self) -> Self:
        names = [r.name for r in self.rows]
        duplicates = sorted({n for n in names if names.count(n) > 1})
        if duplicates:
            raise ValueError(f"rows named twice: {', '.join(duplicates)}")
        return self

    def to_published(self) -> tuple[PublishedResult, ...]:
        """Return the rows in the form that results use."""
        return tuple(self._row_to_published(r) for r in self.rows)

    def _row_to_published(self, row: PublishedRow) -> PublishedResult:
        shares = {name: round(value / 100, 8) for name, value in row.percent.items()}
        protocol = f"{self.data}:{self.split}. {row.protocol}. {self.protocol}"
        return PublishedResult(
            name=row.name,
            metrics=shares | row.plain,
            source=row.source or self.source,
            protocol=protocol if row.protocol else f"{self.data}:{self.split}. {self.protocol}",
        )


def load_table(name: str) -> PublishedTable:
    """Load the file called `name`, or the user's own file.

    Raises:
        UserError: As `settings.load` does.
    """
    return settings.load(PublishedTable, resources.find_resource(FOLDER, name, ".yaml"))


def load(names: Iterable[str]) -> tuple[PublishedResult, ...]:
    """Load the rows of each file, or one row of a file by `FILE#ROW`, in the order requested.

    Raises:
        UserError: An unknown file or row; the hint has the nearest known name.
    """
    return tuple(row for name in names for row in _rows(name))


def names() -> list[str]:
    """Return the name of every packaged file."""
    return resources.resource_names(FOLDER, ".yaml")


def tables_for(data: str) -> list[str]:
    """Return the packaged files about `DATASET:SPLIT`, or about any split of `DATASET`."""
    dataset, _, split = data.partition(":")
    tables = {name: load_table(name) for name in names()}
    return [n for n, t in tables.items() if t.data == dataset and split in ("", t.split)]


def _rows(name: str) -> tuple[PublishedResult, ...]:
    file, _, row = name.partition("#")
    rows = load_table(file).to_published()
    if not row:
        return rows
    matching = tuple(r for r in rows if r.name == row)
    if not matching:
        raise UserError(f"no row {row!r} in {file}", hint=did_you_mean(row, [r.name for r in rows]))
    return matching
