"""A team of users: a view that a group shares, and who is of it."""

from __future__ import annotations

from typing import Final

from tests.support.users import User

TEAM: Final = 5_001
ANNA: Final = User(4_001, (TEAM,), umask=0o077)
BEN: Final = User(4_002, (TEAM,), umask=0o022)
CARA: Final = User(4_003, (TEAM,), umask=0)
OTTO: Final = User(4_004, (), umask=0o022)
"""Not of the team."""
ROOT: Final = User(0)
MEMBERS: Final = (ANNA, BEN, CARA)
