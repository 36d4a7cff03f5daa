"""Request scanner: what it calls plain, h11 reads in the same way; the twins never differ.

Nothing is raised. For a plain head h11 accepts a request of exactly as many bytes, with the same
method and canonical target, no body, the same agent and forwarded address, and the same opinion
about the next request. A token is in its place or nowhere. No beginning of the data is plain or odd
while the whole is something else.

Input: what a client sends on a new connection.
"""

import h11

from native import NotPlain, PlainRequest, _request, _request_py, fnv1a

PREFIX = b"/api/streams/"
KEPT = (b"_HLS_msn", b"_HLS_part", b"_HLS_skip", b"container")


def canonical(target: bytes, token: bytes) -> bytes:
    path, _, query = target.partition(b"?")
    if token:
        stream, mark, rest = path[len(PREFIX) :].partition(b"/~" + token + b"/")
        assert mark
        assert b"/" not in stream
        path = PREFIX + stream + b"/" + rest
    assert b"/~" not in path
    given = dict(parameter.partition(b"=")[::2] for parameter in query.split(b"&"))
    kept = b"&".join(name + b"=" + given[name] for name in KEPT if name in given)
    return path + b"?" + kept if kept else path


def check_against_h11(data: bytes, ours: PlainRequest) -> None:
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(data)
    theirs = connection.next_event()
    assert type(theirs) is h11.Request
    assert theirs.http_version == b"1.1"
    assert theirs.method == (b"HEAD" if ours.is_head else b"GET")
    mark = b"g" if ours.accepts_gzip else b"i"
    mark = mark.upper() if ours.token else mark
    assert ours.key == mark + canonical(theirs.target, ours.token)
    agent = dict(reversed(list(theirs.headers))).get(b"user-agent")  # the first
    assert ours.agent == (0 if agent is None else fnv1a(agent))
    assert ours.forwarded == dict(theirs.headers).get(b"x-forwarded-for", b"")  # the last
    assert type(connection.next_event()) is h11.EndOfMessage
    assert (connection.their_state is h11.DONE) == ours.keeps_alive
    assert connection.trailing_data[0] == data[ours.head_bytes :]


def test_one_input(data: bytes) -> None:
    said = _request.scan_request(data, PREFIX)
    assert said == _request_py.scan_request(data, PREFIX)
    if isinstance(said, PlainRequest):
        check_against_h11(data, said)
    for size in range(min(len(data), 5000)):  # beyond a head's limit nothing changes
        assert _request.scan_request(data[:size], PREFIX) in (said, NotPlain.NEED_DATA)
