"""Digests of uploads."""

import hashlib

from service.specs.upload import ReadOptions, upload_digest

BYTES = hashlib.sha256(b"a,b\n1,2\n").hexdigest()


def test_the_digest_of_an_upload_with_default_options_is_that_of_its_bytes() -> None:
    """Without options, a client computes the digest with `sha256sum`."""
    assert upload_digest(BYTES, ReadOptions()) == BYTES
    assert upload_digest(BYTES, ReadOptions(header=True, index="auto", missing=[])) == BYTES


def test_options_change_the_digest() -> None:
    """Each option that changes the reading gives another digest, whatever the order of types."""
    options = [
        ReadOptions(header=False),
        ReadOptions(index="drop"),
        ReadOptions(types={"a": "numeric", "b": "categorical"}),
        ReadOptions(types={"b": "numeric", "a": "categorical"}),
    ]
    assert len({upload_digest(BYTES, each) for each in options} | {BYTES}) == 5
    swapped = ReadOptions(types={"b": "categorical", "a": "numeric"})
    assert upload_digest(BYTES, swapped) == upload_digest(BYTES, options[2])
