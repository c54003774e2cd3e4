"""Evaluation: any reader against any other, on labels and explanations, with intervals.

Starts from posts with opinions and ends in one `Result`, from which every table and page is drawn.
Knows nothing of how readers read; their answers lie in files.

    data = gather(load(open_source("twitter2015:dev")), [Answers("builtin", Path("b.jsonl"))])
    result = evaluate(suite.load("twitter2015"), data, answers)
"""

from gen_msa.evaluating.gathering import SystemOutput, EvaluationData, add_system_outputs, load_examples
from gen_msa.evaluating.running import check_suite, evaluate, systems_in_data

__all__ = ["SystemOutput", "EvaluationData", "check_suite", "evaluate", "add_system_outputs", "load_examples", "systems_in_data"]
