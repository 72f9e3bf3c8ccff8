"""Locks the environment that this Python belongs to, shared, until the process ends.

`environment.bash` puts this module into each environment, with a .pth file that has Python import it when it starts,
and removes no environment that is locked. The kernel keeps the lock, so it holds for every user, in every PID
namespace, and ends with the process. An environment without a stamp is still being made.
"""

import fcntl
import os
import sys

try:
    stamp = os.open(os.path.join(sys.prefix, "ipfsfs-stamp"), os.O_RDONLY)
    if stamp < 3:  # where that is closed, what is printed would go into it
        own = fcntl.fcntl(stamp, fcntl.F_DUPFD_CLOEXEC, 3)
        os.close(stamp)
        stamp = own
    fcntl.flock(stamp, fcntl.LOCK_SH | fcntl.LOCK_NB)
except OSError:
    pass
