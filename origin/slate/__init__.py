"""What viewers see while a publisher is awaited: a picture or clip of the operator's.

`coder`, in a process of its own, codes it like what the publisher sent; `clip` is the result and
how it is had; `show` plays it into the broadcast until somebody publishes again.
"""
