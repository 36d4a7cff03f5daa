"""What every test shares: Hypothesis without a per-example clock, and a log that is put back.

Eight jobs on two cores make a wall-clock deadline a coin toss, and `filterwarnings = error` makes
the toss fatal. Budgets are the benchmarks' business.
"""

import logging
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import HealthCheck, settings

settings.register_profile(
    "headrace", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("headrace")


@pytest.fixture
def logging_restored() -> Iterator[None]:
    """Undo `edge.process.log.configure_logging` after the test."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    structlog.reset_defaults()
    root.handlers, root.level = handlers, level
