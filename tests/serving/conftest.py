"""One service that several tests may ask."""

import pytest


@pytest.fixture(scope="module")
def service():
    from tests.serving.doubles import run_service

    with run_service() as running_service:
        yield running_service
