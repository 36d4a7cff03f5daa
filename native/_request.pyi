from native._types import NotPlain, PlainRequest

def scan_request(
    data: bytes, prefix: bytes, *, max_key_bytes: int = 4096
) -> PlainRequest | NotPlain: ...
