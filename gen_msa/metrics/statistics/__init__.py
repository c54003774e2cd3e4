"""Intervals and tests over the rows of a metric: how sure a figure is, and whether two differ.

Knows nothing of what a row counts: takes rows (n, k), the cluster of each, and the family's
`values`. Clusters (pictures, posts) are drawn and swapped whole, because rows of one are not
independent of each other. Seeds are given, never taken from the clock.

    draws = Draws([clusters], replicates=10_000, seed=0)        # bootstrap: once for all readers
    draws.intervals(rows, clusters, family.values)              # {"macro_f1": Interval(low, high)}
    permutation(rows_a, rows_b, clusters, family.values).p      # {"macro_f1": 0.013, ...}

`wilson` shares · `bootstrap` intervals · `paired` differences · `permutation` and `mcnemar` tests ·
`adjusting` for many tests · `power` before one · `seeds` after several. This door imports none of
them: a metric needs `wilson` only.
"""
