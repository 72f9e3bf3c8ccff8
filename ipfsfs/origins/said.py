"""What a server says, as people may see it: printable, short, and without the credentials that it was asked with.

A server that is asked wrongly may repeat the whole request, and what is said of a failure goes to logs and terminals.
"""

from __future__ import annotations

import base64
import binascii
from itertools import takewhile
from typing import Final

from ipfsfs.printed import printable

_HIDDEN: Final = "[hidden]"
_LOOKED_AT: Final = 4_096
"""Characters that are looked at: more than is ever shown, so that what is cut off here is cut off there as well."""
_TELLING: Final = 6
"""Characters of a secret by which it is known."""
_LEAST: Final = 4
"""A secret of fewer characters would hide half of any text, and is none."""


def shown(text: str, authorization: str, most: int) -> str:
    """At most `most` characters of a text, one for one but for what has to be escaped. `authorization`: the value of
    the header that the server was asked with, empty for none."""
    text = text[:_LOOKED_AT]
    for secret in _secrets(authorization):
        text = _without(text, secret)
    return printable(text[:most])


def _without(text: str, secret: str) -> str:
    """The text without a secret, and without a beginning of it: who repeats it may cut it off."""
    begin, parts = secret[:_TELLING], text.split(secret[:_TELLING])
    for number, part in enumerate(parts[1:], start=1):
        pairs = zip(part, secret[len(begin) :], strict=False)
        parts[number] = _HIDDEN + part[sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs)) :]
    return "".join(parts)


def _secrets(authorization: str) -> list[str]:
    """What must not be seen, the longest first: the credentials, and those that they hold in base64."""
    scheme, _, credentials = authorization.rpartition(" ")
    found = [credentials]
    if scheme.lower() == "basic":
        try:
            user_and_password = base64.b64decode(credentials, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            user_and_password = ""
        found += [user_and_password, user_and_password.partition(":")[2]]
    return sorted((one for one in found if len(one) >= _LEAST), key=len, reverse=True)
