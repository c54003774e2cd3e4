"""Intervals and tests over the row statistics of a metric: uncertainty, and differences of systems.

Functions take row statistics `(n, k)`, the cluster of each row, and the family's `compute`.
Clusters (images, posts) are resampled and swapped as units, because their rows are not independent.
Seeds are arguments.

    resamples = BootstrapResamples([clusters], replicates=10_000, seed=0)    # for all systems
    resamples.intervals(rows, clusters, family.compute)          # {"macro_f1": Interval(low, high)}
    permutation_test(rows_a, rows_b, clusters, family.compute).p             # {"macro_f1": 0.013}

`proportions` has intervals of shares and power; `bootstrap` intervals and paired differences;
`hypothesis_tests` permutation, McNemar and p-value adjustment; `agreement` kappa and alpha.
"""
