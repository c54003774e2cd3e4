"""Compare opinions: the Python side of `gen-msa evaluate`.

evaluation = evaluate(opinions, reference="gold")
evaluation.to_pandas()
print(evaluation.to_latex())
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gen_msa import settings as settings_files
from gen_msa.api.opinions import Opinions, import_pandas
from gen_msa.errors import UserError
from gen_msa.types import Example

if TYPE_CHECKING:
    import pandas

    from gen_msa.results import EvaluationResult


class Evaluation:
    """A finished evaluation: metrics with intervals, and the tables and pages drawn from them."""

    def __init__(
        self,
        result: "EvaluationResult",
        examples: Sequence[Example],
        media_root: Path,
        headline: Sequence[str],
    ) -> None:
        self.result = result
        """Everything that was computed, as in `results.json`."""
        self.headline = tuple(headline)
        """Metrics by which systems are compared, as `family.metric`."""
        self.examples = tuple(examples)
        self.media_root = media_root

    def __repr__(self) -> str:
        systems = ", ".join(s.name for s in self.result.systems)
        return (
            f"<Evaluation of {systems} against {self.result.reference}: {self.result.rows:,} rows>"
        )

    def _repr_html_(self) -> str:
        """Show the metrics as a table in a notebook."""
        return str(self.to_pandas().to_html(escape=True, index=False, float_format="%.4f"))

    def to_pandas(self) -> "pandas.DataFrame":
        """Return one row for each system and metric: `value`, `low`, `high` (95 %) and `n`.

        Shares lie between 0 and 1. A metric that cannot be computed has no value and says why in
        `note`.
        """
        rows = [
            {
                "system": system.name,
                "metric": f"{family}.{name}",
                "value": value.value,
                "low": value.low,
                "high": value.high,
                "n": value.n,
                "note": value.note,
            }
            for system in self.result.systems
            for family, values in system.metrics.items()
            for name, value in values.items()
        ]
        return import_pandas().DataFrame(rows)

    def to_latex(self, metrics: Sequence[str] | None = None) -> str:
        """Return a booktabs table: a row for each system, with 95 % intervals or mean ± sd.

        Args:
            metrics: Names such as `labels.accuracy`. Default: the suite's headline.

        Raises:
            UserError: A metric was not computed.
        """
        from gen_msa.report.evaluation import latex_table

        return latex_table(self.result, list(metrics or self.headline))

    def to_markdown(self) -> str:
        """Return the tables as Markdown, as in `metrics.md`."""
        from gen_msa.report.evaluation import markdown_table

        return markdown_table(self.result)

    def to_html(self, path: str | Path) -> Path:
        """Write the page of `gen-msa evaluate`: one file that works offline."""
        from gen_msa.report.evaluation import write_evaluation

        write_evaluation(self.result, self.examples, Path(path), self.media_root)
        return Path(path)


def evaluate(
    opinions: Opinions | str | Path,
    *,
    reference: str = "gold",
    models: Sequence[str] | None = None,
    **settings: Any,
) -> Evaluation:
    """Compare whose opinions there are with a reference, with intervals and paired tests.

    Args:
        opinions: Opinions in memory, or a file of them.
        reference: Whose opinions count as right: `gold`, or another annotator's name.
        models: Annotators to compare. Default: all but the reference.
        **settings: Keys of a suite: `metrics=["labels"]`, `replicates=2000`, `slices=[]`, `seed=1`.

    Returns:
        Metrics of every system with intervals, differences and paired tests.

    Raises:
        UserError: There is nothing but the reference, or a setting does not exist.
        MissingExtra: `pip install 'gen-msa[eval]'` is needed.
    """
    from gen_msa import evaluation
    from gen_msa.evaluation.suite import Suite

    loaded = opinions if isinstance(opinions, Opinions) else Opinions.read(opinions)
    suite: Suite = settings_files.build(
        Suite, {**settings, "data": loaded.name, "reference": reference}, "the call"
    )
    data = evaluation.load_examples(loaded.source())
    evaluation.check_suite(suite, data)
    outputs = evaluation.systems_in_data(suite, data)
    if models is not None:
        names = {o.name for o in outputs}
        if missing := sorted(set(models) - names):
            raise UserError(f"no opinions by {missing[0]!r}", hint=f"there are {sorted(names)}")
        outputs = [o for o in outputs if o.name in set(models)]
    result = evaluation.evaluate(suite, data, outputs)
    return Evaluation(result, data.examples, data.media_root, suite.headline)
