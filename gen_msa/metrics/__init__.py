"""Metrics: figures that compare what one reader said with what another did.

A family is a file. Knows nothing of readers, posts or models; takes polarities that stand in the
same order and gives numbers.

    scores = score([Polarity.NEGATIVE, Polarity.POSITIVE], [Polarity.NEGATIVE, None])
    scores.accuracy, scores.macro_f1, scores.read_rate       # 0.5, 1/3, 0.5
"""

from gen_msa.metrics.labels import Scores, f1, score, wilson

__all__ = ["Scores", "f1", "score", "wilson"]
