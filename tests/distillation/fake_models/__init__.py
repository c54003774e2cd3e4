"""Tiny models that train in stages, with two optimisers, or crash; each module registers one."""
