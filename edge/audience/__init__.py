"""Who watches: viewers counted by their heartbeats, and what became of their number.

::

    counts   sessions and their time-out, peaks, watched time, a point a minute: sans-IO
    api      the operations
"""
