"""Settings of all tests: none fails for being slow; eval/bench measures times."""

from contextlib import suppress

# The environment of the real vLLM has no Hypothesis, and its tests need none.
with suppress(ModuleNotFoundError):
    from hypothesis import settings

    settings.register_profile("project", deadline=None)
    settings.load_profile("project")
