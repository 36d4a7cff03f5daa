"""What every test shares: Hypothesis without a per-example clock, no urgency, a log put back.

Eight jobs on two cores make a wall-clock deadline a coin toss, and `filterwarnings = error` makes
the toss fatal. Budgets are the benchmarks' business.
"""

import logging
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import HealthCheck, settings
from usual_priority import refuse_real_time

settings.register_profile(
    "headrace", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("headrace")

refuse_real_time()  # clips are encoded in this process


@pytest.fixture
def logging_restored() -> Iterator[None]:
    """Undo `edge.process.log.configure_logging` after the test."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    structlog.reset_defaults()
    root.handlers, root.level = handlers, level
