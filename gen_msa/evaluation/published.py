"""Figures that papers printed, from `eval/published/`, in the unit of ours and with their citation.

A file holds the rows of one task on one split. Figures are written as they were printed (`percent`)
so that they can be checked by eye, and are handed on as shares; `plain` ones as they are. Nothing
stands there from memory: each row has a `source`, and a `protocol` that says what makes it
comparable or not. Knows nothing of what the figures mean.

    load(["twitter2015_masc"])                  # every row
    load(["twitter2015_masc#TomBERT"])          # one
    about("twitter2015:test")                   # the names of files for that split
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
    """One system."""

    name: str = Field(min_length=1)
    percent: dict[str, float] = Field(default_factory=dict)
    """`family.figure` -> as printed, 0..100."""
    plain: dict[str, float] = Field(default_factory=dict)
    """`family.figure` -> as printed, for what is no share (MAE, r)."""
    source: str = ""
    """Empty: the file's."""
    protocol: str = ""
    """What holds of this row besides the file's."""

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
    """Citation, with its table."""
    protocol: str = Field(min_length=1)
    """Split, classes, which F1, pictures, seeds, choice of checkpoint: what all rows share."""
    rows: tuple[PublishedRow, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _check_unique_names(self) -> Self:
        names = [r.name for r in self.rows]
        duplicates = sorted({n for n in names if names.count(n) > 1})
        if duplicates:
            raise ValueError(f"rows named twice: {', '.join(duplicates)}")
        return self

    def to_published(self) -> tuple[PublishedResult, ...]:
        """The rows as results hold them."""
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
    """The file called `name`, or the user's own. Raises `UserError` as `settings.load` does."""
    return settings.load(PublishedTable, resources.find_resource(FOLDER, name, ".yaml"))


def load(names: Iterable[str]) -> tuple[PublishedResult, ...]:
    """The rows of each file, or one row of a file by `FILE#ROW`, in the order asked for.

    Raises `UserError` for an unknown file or row, with the nearest known one.
    """
    return tuple(row for name in names for row in _rows(name))


def names() -> list[str]:
    """Every shipped file."""
    return resources.resource_names(FOLDER, ".yaml")


def tables_for(data: str) -> list[str]:
    """The shipped files about `DATASET:SPLIT`; of any split when only the data set is named."""
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
