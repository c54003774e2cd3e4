"""Students of a few numbers that train in stages or with two optimisers; a module registers one."""
