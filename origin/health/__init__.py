"""How each broadcast fares: measured once in `monitor.LOOK_S`, judged, told.

::

    Publication.push --> Meter.note          a few numbers a message, no sums
    HealthMonitor.run --> Meter.look         -> Reading, of the last half second
                      --> Alerts.judge       -> alert.started, alert.ended on the EventBus
                      --> History            ten minutes, a row a second
    HealthApi  GET .../health                what there is of it now
    LiveEvents GET .../events                the same as it happens (SSE)

`meter`, `drift`, `rules`, `alerts` and `history` are pure: numbers and moments in, numbers and
alerts out. Nothing here is on the way of media to a viewer.
"""
