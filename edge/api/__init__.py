"""The JSON API: one table of operations, which is routed, checked and documented from.

::

    operation   what an operation is: path, who may, body, answer
    router      from a request to its operation, with credentials and types checked
"""
