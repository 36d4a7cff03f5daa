"""What every test shares: Hypothesis without a per-example clock.

Eight jobs on two cores make a wall-clock deadline a coin toss, and `filterwarnings = error` makes
the toss fatal. Budgets are the benchmarks' business.
"""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "headrace", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("headrace")
