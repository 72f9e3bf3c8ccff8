"""What goes on beside machines that load: other names in the same directories, and clients that wait."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable

import pytest

from tests.site.downloads import download
from tests.site.sharing import FOLDER, REPO, end, holds, sharing
from tests.support.llama import Llama
from tests.support.machines import Site, kill
from tests.support.processes import eventually

pytestmark = [pytest.mark.root, pytest.mark.workers]

MB = 1_000_000
LOOK = """
import json, os, sys, time
folder, until = sys.argv[1], sys.argv[2]
slowest, count = {}, 0
def timed(name, call):
    began = time.monotonic()
    try:
        call()
    except FileNotFoundError:
        pass
    slowest[name] = max(slowest.get(name, 0), time.monotonic() - began)
while not os.path.exists(until):
    count += 1
    for place in ("blobs", "snapshots"):
        path = os.path.join(folder, place, f"other-{count}")
        timed("stat", lambda: os.stat(path))
        timed("create", lambda: os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)))
        timed("rename", lambda: os.rename(path, path + ".renamed"))
        timed("stat there", lambda: os.stat(path + ".renamed"))
        timed("remove", lambda: os.unlink(path + ".renamed"))
    timed("stat of a promised name", lambda: os.stat(os.path.join(folder, "blobs", f"{count:064x}")))
    time.sleep(0.01)
print(json.dumps([count, slowest]))
"""
SLOWEST_S = 0.5
"""Of any of these calls, on a computer with two processors on which all machines load at once; a lookup that waited for
other machines would hold all others of its directory, for 20 ms each."""


@pytest.mark.parametrize(
    "count", [3, pytest.param(8, marks=pytest.mark.campaign)], ids=["three machines", "eight machines"]
)
def test_h50_other_names_in_the_same_directories(site: Callable[[int], Site], small: Llama, count: int) -> None:
    here = sharing(site(count), small)
    here.hub.limit(all_=8 * MB)
    loading = [machine.popen(*download(REPO)) for machine in here.machines]
    last = here.machines[-1]
    folder, done = last.home / FOLDER, last.directory / "done"
    eventually(lambda: (last.seen(folder) / "snapshots").is_dir(), "the folder is there")
    looking = last.popen(sys.executable, "-c", LOOK, folder, done)
    for process in loading:
        out, err = process.communicate(timeout=200)
        assert process.returncode == 0, out + err
    done.touch()
    out, err = looking.communicate(timeout=30)
    assert looking.returncode == 0, err
    turns, slowest = json.loads(out)
    print(turns, "turns; slowest, in ms:", {name: round(1000 * took) for name, took in slowest.items()})
    assert turns > 30
    assert max(slowest.values()) < SLOWEST_S
    for machine in here.machines:
        holds(machine, small)
    end(here)


WAITING = """
import logging, sys
import huggingface_hub.constants
huggingface_hub.constants.FILELOCK_LOG_EVERY_SECONDS = 1
logging.basicConfig(level=logging.INFO)
from huggingface_hub import hf_hub_download, logging as hub_logging
hub_logging.set_verbosity_info()
hf_hub_download(sys.argv[1], sys.argv[2])
"""


def test_h46_ctrl_c_ends_a_client_that_waits_for_another_machine(site: Callable[[int], Site], small: Llama) -> None:
    """Having said that it waits, which the client does every 10 s (here every second); the load of the other goes on,
    and so does a later one here. (`snapshot_download` waits in threads, which it does not end, on plain disk neither.)
    """
    here = sharing(site(2), small)
    first, second = here.machines
    here.hub.limit(each=4 * MB)
    leading = first.popen(*download(REPO))
    eventually(lambda: here.taken(REPO) > MB, "the first has begun")
    waiting = second.popen(sys.executable, "-c", WAITING, REPO, "model-00001-of-00004.safetensors")
    time.sleep(3.5)
    began = time.monotonic()
    kill(waiting, signal.SIGINT)
    out, err = waiting.communicate(timeout=10)
    took = time.monotonic() - began

    assert "Still waiting to acquire lock" in out + err
    assert "KeyboardInterrupt" in err
    assert took < 1.5  # a second, and nsenter(1) beside it
    here.hub.limit()
    said, error = leading.communicate(timeout=60)
    assert leading.returncode == 0, said + error
    second.run(*download(REPO))
    holds(second, small)
    assert here.taken(REPO) <= 1.3 * small.size
    end(here)
