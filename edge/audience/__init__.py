"""Who watches: viewers counted by what they say and by what they ask for, and how they fare.

::

    names       hashes in place of names and addresses
    cmcd        what a player says of itself, read
    cadence     how often bare players ask, in one process
    bare        how many that makes, over all processes
    counts      who has a name, and time-outs; all together: peaks, watched time, a point a minute
    histograms  distributions that add up
    quality     what the viewers of a stream say of how they fare
    signs       a page's sign of life, as JSON
    reports     what an edge tells, as JSON
    gathering   what it has to tell
    reporter    tells it
    pace        how long parts are
    keeping     writes the history into the store
    api         the operations, at an origin

All but `api`, `keeping` and `reporter` is sans-IO.
"""
