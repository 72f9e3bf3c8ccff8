"""A request as it came, its head and body; what its target says. All of it is hostile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl

from ipfsfs.errors import UsageError

FIELDS_MOST: Final = 16
"""Parameters of a query."""


@dataclass(slots=True, frozen=True)
class Request:
    """`target`: as it stands in the first line. `headers`: by their names in lower case; of one that came twice the
    values with a comma between them."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes = b""

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]

    def query(self) -> dict[str, str]:
        """The parameters of the query. Raises UsageError for too many, or one that comes twice."""
        text = self.target.partition("?")[2]
        try:
            pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=FIELDS_MOST, errors="strict")
        except ValueError:  # too many, or no UTF-8
            raise UsageError("the query is none") from None
        query = dict(pairs)
        if len(query) != len(pairs):
            raise UsageError("a parameter of the query comes twice")
        return query

    def header(self, name: str) -> str:
        """The value of a header; empty where it did not come."""
        return self.headers.get(name, "")

    @property
    def is_have(self) -> bool:
        """Whether only what is here is asked for."""
        directives = (part.strip().lower() for part in self.header("cache-control").split(","))
        return "only-if-cached" in directives
