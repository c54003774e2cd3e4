"""One service that several tests may ask."""

import pytest


@pytest.fixture(scope="module")
def service():
    from tests.serving.doubles import served

    with served() as it:
        yield it
