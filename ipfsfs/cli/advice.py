"""What to do about an error that does not say so itself, for it was raised where that is not known."""

from __future__ import annotations

from ipfsfs.errors import IpfsfsError, NoAnswer, NoOrigin, NoRoom, NotHeld
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
        case NoOrigin() | NotHeld(said=[_, *_]):  # a CID for which all origins were asked
            return (
                "It would come from the nodes and gateways that the view was mounted with (--kubo, --gateway, "
                "--routing). If it is a directory of this machine, name it by its path: others know it by its CID only "
                "once it is published."
            )
    return ""
