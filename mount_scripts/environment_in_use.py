"""Locks the environment that this Python belongs to, shared, until the process ends.

`environment.bash` puts this module into each environment, with a .pth file that has Python import it when it starts,
and removes no environment that is locked. The kernel keeps the lock, so it holds for every user, in every PID
namespace, and ends with the process. An environment without a stamp is still being made.
"""

import fcntl
import os
import sys

try:  # noqa: SIM105 - contextlib takes longer to import than all of this
    fcntl.flock(os.open(os.path.join(sys.prefix, "ipfsfs-stamp"), os.O_RDONLY), fcntl.LOCK_SH | fcntl.LOCK_NB)
except OSError:
    pass
