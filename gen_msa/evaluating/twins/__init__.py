"""Twins: texts and pictures that are the same, or nearly so.

`texts` folds and compares words, `pictures` bytes and looks. Know nothing of splits or of posts.

    from gen_msa.evaluating.twins import pictures, texts
"""
