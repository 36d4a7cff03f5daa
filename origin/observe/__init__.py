"""What operators see of an origin: `/metrics`, `/ready`.

`families` says what Prometheus is told, and where each figure comes from; `exposition` renders it,
in slices; `names` bounds the streams that have series of their own; `readiness` answers `/ready`.
docs/metrics.md is held to the first by a test.
"""
