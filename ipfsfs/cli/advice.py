"""What to do about an error that does not say so itself, for it was raised where that is not known."""

from __future__ import annotations

from ipfsfs.errors import IpfsfsError, NoAnswer, NoRoom, NotHeld
from ipfsfs.printed import command


def advised(error: IpfsfsError) -> IpfsfsError:
    """The error, with a hint."""
    if not error.hint:
        error.hint = _hint(error)
    return error


def _hint(error: IpfsfsError) -> str:
    match error:
        case NoAnswer():
            return f"To see what became of it, and what to do: {command('status')}"
        case NoRoom():
            return f"Make room on the disk of the store. To see what could go: {command('collect --dry-run')}"
        case NotHeld():
            return (
                "It would come from the nodes, gateways and machines that the view was mounted with (--kubo, "
                "--gateway, --peers). If it is a directory of this machine, name it by its path: others know it by its "
                "CID only once it is published."
            )
    return ""
