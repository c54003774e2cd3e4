"""Evaluation: any reader against any other, on labels and explanations, with intervals.

Starts from posts with opinions and ends in one `Result`, from which every table and page is drawn.
Knows nothing of how readers read; their answers lie in files.

    data = gather(load(open_source("twitter2015:dev")), [Answers("builtin", Path("b.jsonl"))])
    result = evaluate(suite.load("twitter2015"), data, answers)
"""

from gen_msa.evaluation.evaluate import check_suite, evaluate, systems_in_data
from gen_msa.evaluation.load import EvaluationData, SystemOutput, add_system_outputs, load_examples

__all__ = [
    "EvaluationData",
    "SystemOutput",
    "add_system_outputs",
    "check_suite",
    "evaluate",
    "load_examples",
    "systems_in_data",
]
