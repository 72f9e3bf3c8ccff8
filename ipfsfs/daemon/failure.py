"""An error on its way from one process of ours to another: by the name of its class, so that it is raised again as what
it was."""

from __future__ import annotations

from dataclasses import dataclass

from ipfsfs.errors import BY_NAME, IpfsfsError


@dataclass(slots=True, frozen=True)
class Failure:
    """An error, for the wire. `error` is the name of its class."""

    error: str
    message: str
    hint: str = ""

    @classmethod
    def of(cls, error: IpfsfsError) -> Failure:
        """What stands for an error of ours. One of a class that is known to its own room only travels as the nearest
        class above it that is in the table."""
        name = next(kind.__name__ for kind in type(error).__mro__ if BY_NAME.get(kind.__name__) is kind)
        return cls(name, str(error), error.hint)

    def as_error(self) -> IpfsfsError:
        """The error, to be raised; one of a class that this version lacks is an IpfsfsError."""
        return BY_NAME.get(self.error, IpfsfsError)(self.message, hint=self.hint)
