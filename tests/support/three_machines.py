"""Three machines for a person to try, and a Hub that says what it gives: see `mount_scripts/three-machines`."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from tests.support.llama import write_llama
from tests.support.machine_view import PORT
from tests.support.machines import Machine, Site

REPO: Final = "demo/model"
SIZE: Final = 200_000_000
RATE: Final = 20_000_000
"""Bytes a second that the Hub gives to each machine: slow enough to be watched."""
STATE: Final = Path("/run/ipfsfs-three-machines.json")
"""Where a shell finds the machines."""

_NOTE: Final = """
Three machines are on one wire, each with an empty cache at {home},
mounted with --serve and --peers. Open three terminals, with a shell of one machine in each:

    sudo ./mount_scripts/three-machines 1
    sudo ./mount_scripts/three-machines 2
    sudo ./mount_scripts/three-machines 3

and in each of them, at once or in turn:

    hf download {repo}
    ipfsfs peers

To kill a machine in the middle: `kill -9 -1` in its shell. Ctrl-C here ends all of it.
"""


def main() -> None:
    argument = sys.argv[1] if len(sys.argv) > 1 else ""
    if argument.isdigit():
        shell(int(argument))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    root = Path(tempfile.mkdtemp(prefix="three-machines-"))
    try:
        with Site.make(root, 3) as site:
            share(site)
            if argument == "--show":
                show(site)
            else:
                watch(site)
    except KeyboardInterrupt:
        print()
    finally:
        STATE.unlink(missing_ok=True)
        shutil.rmtree(root, ignore_errors=True)


def share(site: Site) -> None:
    """A model on the Hub, and a view on each machine."""
    site.hub.add_folder(REPO, write_llama(site.root / "model", SIZE, shards=4).folder)
    site.hub.limit(each=RATE)
    token = site.root / "token"
    token.touch(0o600)
    token.write_text(secrets.token_hex(32))
    for machine in site.machines:
        machine.view.share(token=token)


def show(site: Site) -> None:
    """Have the model on one machine after the other, and say how long that took and where it came from."""
    for machine in site.machines:
        began = time.monotonic()
        machine.run("hf", "download", REPO, timeout=300)
        machine.run("sh", "-c", f"cat {machine.home}/hub/models--*/snapshots/*/* >/dev/null", timeout=300)
        took = time.monotonic() - began
        print(f"{machine.computer.name}: downloaded and read in {took:.1f} s. {given(site)}", flush=True)
    print(site.machines[-1].view.run("peers").stdout, end="")


def watch(site: Site) -> None:
    """Show what the Hub gives until Ctrl-C, for shells to be opened meanwhile."""
    machines = [
        {"pid": machine.computer.pid, "directory": str(machine.directory), "env": environment(machine)}
        for machine in site.machines
    ]
    STATE.write_text(json.dumps(machines))
    print(_NOTE.format(home=site.machines[0].home, repo=REPO))
    end = "\r" if sys.stdout.isatty() else "\n"
    said = ""
    while True:
        if (now := given(site)) != said:
            print(now, end=end, flush=True)
            said = now
        time.sleep(0.5)


def given(site: Site) -> str:
    """What the Hub has given, in words."""
    parts = [f"{sum(files.values()) / 1e6:.0f} MB to {name}" for name, files in site.from_hub(REPO).items()]
    return f"The Hub gave {', '.join(parts)}."


def environment(machine: Machine) -> dict[str, str]:
    """What a shell of a machine has in its environment."""
    return {
        **machine.environment(),
        "TERM": os.environ.get("TERM", "dumb"),
        "PS1": f"[{machine.computer.name} {machine.address}:{PORT}] \\w# ",
    }


def shell(number: int) -> None:
    """Become a shell of a machine."""
    try:
        told = json.loads(STATE.read_text())[number - 1]
        os.stat(f"/proc/{told['pid']}/ns/net")
    except OSError:
        sys.exit("There are no machines. Make them in another terminal: sudo ./mount_scripts/three-machines")
    kinds = ("--net", "--mount", "--uts", "--ipc", "--pid")
    command = ["nsenter", f"--target={told['pid']}", *kinds, "--", "env", f"--chdir={told['directory']}"]
    os.execvpe("nsenter", [*command, "bash", "--norc", "--noprofile", *sys.argv[2:]], told["env"])


if __name__ == "__main__":
    main()
