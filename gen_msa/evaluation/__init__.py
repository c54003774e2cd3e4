"""Evaluation: compare any systems on labels and explanations, with intervals and paired tests.

It starts from posts with opinions and ends in one `EvaluationResult`, from which every table and
page is drawn. The predictions themselves are read from files.

    data = load_examples(open_examples("twitter2015:dev"))
    outputs = [SystemOutput("builtin", Path("builtin.jsonl"))]
    result = evaluate(suite.load("twitter2015"), add_system_outputs(data, outputs), outputs)
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
