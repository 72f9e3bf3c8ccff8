"""Which errors are explained where a command ends."""

from __future__ import annotations

import pytest

from ipfsfs.cli.advice import advised
from ipfsfs.errors import NoOrigin, NotHeld, OriginError, OtherContent, Said

_ASKED = (Said("the store", "it is not here"),)


@pytest.mark.parametrize(
    ("error", "is_explained"),
    [
        (NotHeld("no origin gives it", said=_ASKED), True),
        (NoOrigin("none is set"), True),
        (NotHeld("the Hub does not give the file"), False),
        (OtherContent("the Hub has other bytes there"), False),
    ],
    ids=["all were asked", "none is set", "of a file of the Hub", "another content"],
)
def test_a_directory_is_spoken_of_where_a_cid_was_asked_for(error: OriginError, is_explained: bool) -> None:
    assert ("name it by its path" in advised(error).hint) is is_explained


def test_a_hint_that_is_there_stays() -> None:
    assert advised(NotHeld("no origin gives it", said=_ASKED, hint="It was searched.")).hint == "It was searched."
