"""What a user of the second machine does, there as on plain disk; and what one without the token gets: nothing."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.site.downloads import download, hf
from tests.site.sharing import FOLDER, REPO, announced, end, have, holds, settled, share_all, sharing
from tests.support.llama import Llama
from tests.support.machine_view import PORT
from tests.support.machines import Machine, Site

pytestmark = [pytest.mark.root, pytest.mark.workers]

ACCESS = "hf_of-one-user"
EXISTS = "import os, sys; print([os.path.exists(path) for path in sys.argv[1:]])"


@pytest.fixture
def second(site: Callable[[int], Site], small: Llama) -> Machine:
    """The second of two machines, which has had the model from the first."""
    here = sharing(site(2), small)
    have(here.machines[0])
    announced(here.machines[0], small)
    have(here.machines[1])
    return here.machines[1]


def weights(machine: Machine, model: Llama) -> list[Path]:
    """The blobs of the weights, by the names that promise them."""
    blobs = machine.home / FOLDER / "blobs"
    return [blobs / digest for name, digest in model.digests.items() if name.endswith(".safetensors")]


def exist(machine: Machine, paths: list[Path]) -> list[bool]:
    found: list[bool] = json.loads(
        machine.run(sys.executable, "-c", EXISTS, *paths).stdout.replace("T", "t").replace("F", "f")
    )
    return found


def test_h50_what_was_removed_stays_removed(second: Machine, small: Llama) -> None:
    """`rm` of a blob: a stat finds nothing after it, though the other machine has it; the next download has it."""
    blobs = weights(second, small)
    second.run("rm", blobs[0])

    assert exist(second, blobs) == [False, True, True, True]
    assert exist(second, blobs) == [False, True, True, True]
    have(second)
    holds(second, small)
    end(second.site)


def test_h50_hf_cache_rm_and_prune(second: Machine, small: Llama) -> None:
    """As on plain disk: nothing of the repository is left, and nothing comes back by looking."""
    settled(second)
    blobs = weights(second, small)
    second.run(*hf("cache", "prune", "-y"))
    holds(second, small)
    said = json.loads(second.run(*hf("cache", "ls", "--json")).stdout)
    assert [entry["id"] for entry in said] == [f"model/{REPO}"]
    second.run(*hf("cache", "rm", f"model/{REPO}", "-y"))

    assert not (second.seen(second.home) / FOLDER).exists()
    assert exist(second, blobs) == [False] * 4
    assert second.run(*hf("cache", "ls", "--json")).stdout.strip() == "[]"
    have(second)
    holds(second, small)
    end(second.site)


def test_a_machine_that_loads_alone_has_all_from_the_holder(site: Callable[[int], Site], small: Llama) -> None:
    """The third machine has no work of it; nor does the second machine's own server."""
    here = sharing(site(3), small)
    first, second, _ = here.machines
    have(first)
    done_at = time.monotonic()
    announced(first, small)
    assert time.monotonic() - done_at < 10
    have(second)

    gave = {peer["address"]: peer["gave_bytes"] for peer in second.view.peers()["peers"]}
    assert gave.pop(f"{first.address}:{PORT}") > 0.9 * small.size
    assert list(gave.values()) == [0, 0]
    end(here)


def test_hf_cache_verify_and_force_download(second: Machine, small: Llama) -> None:
    """What came from the other machine is what the Hub says; forced, it is downloaded whatever others have."""
    second.run(*hf("cache", "verify", REPO))
    before = second.site.from_hub(REPO)[second.computer.name].total()
    second.run(*hf("download", REPO, "--force-download"))

    downloaded = second.site.from_hub(REPO)[second.computer.name].total() - before
    # Of each file one byte may be asked for, to see whether anyone may have it.
    assert small.size <= downloaded <= small.size + len(small.digests)
    second.run(*hf("cache", "verify", REPO))
    holds(second, small)
    end(second.site)


@pytest.mark.parametrize(("access", "said"), [("private", "RepositoryNotFound"), ("gated", "GatedRepo")])
def test_h38_a_repository_not_for_all_comes_from_the_hub_with_the_users_own_token(
    site: Callable[[int], Site], small: Llama, access: str, said: str
) -> None:
    """The first machine's user may have it. The second's may not, and gets what the Hub says; nor does a third's, who
    may, have it from the first: what is not public is not shared (`--share public`)."""
    here = site(3)
    here.hub.add_folder(REPO, small.folder)
    here.hub.restrict(REPO, access, ACCESS)
    share_all(here)
    first, second, third = here.machines
    first.run(*download(REPO), env=first.environment(HF_TOKEN=ACCESS))
    settled(first)
    refused = second.run(*download(REPO), check=False)
    third.run(*download(REPO), env=third.environment(HF_TOKEN=ACCESS))

    assert refused.returncode != 0
    assert said in refused.stderr
    assert not (second.seen(second.home) / FOLDER / "blobs").exists()
    # A byte or so more: its daemon asks whether the Hub gives the files to anyone.
    assert small.size <= here.from_hub(REPO)["m3"].total() <= small.size + 100
    holds(third, small)
    end(here)


@pytest.mark.parametrize("first_by_xet", [True, False])
@pytest.mark.parametrize("second_by_xet", [True, False])
def test_h49_xet_and_plain_http(
    site: Callable[[int], Site], small: Llama, first_by_xet: bool, second_by_xet: bool
) -> None:
    """However the two machines would download it: the second has the bytes from the first, in its own layout."""
    here = site(2)
    here.hub.add_folder(REPO, small.folder, xet=True)
    share_all(here)
    first, second = here.machines
    for machine, by_xet in ((first, first_by_xet), (second, second_by_xet)):
        machine.run(*download(REPO), env=machine.environment(HF_HUB_DISABLE_XET="" if by_xet else "1"))
        if machine is first:
            announced(first, small)
    holds(second, small)
    assert second.view.peers()["from_peers"] >= 0.9 * small.size
    second.run(*hf("cache", "verify", REPO))
    end(here)


ASK = """
import json, socket, sys
host, port, request = sys.argv[1], int(sys.argv[2]), sys.argv[3]
with socket.create_connection((host, port), 5) as connection:
    connection.sendall(request.encode().replace(b"|", b"\\r\\n"))
    connection.settimeout(5)
    said = b""
    while part := connection.recv(65536):
        said += part
print(json.dumps(said.decode("latin-1")))
"""


def ask(machine: Machine, other: Machine, method: str, path: str, body: str = "") -> tuple[str, str]:
    """What a machine answers to a request that is not signed: the status, and the rest without the date."""
    request = f"{method} {path} HTTP/1.1|Host: x|Connection: close|Content-Length: {len(body)}||{body}"
    said: str = json.loads(machine.run(sys.executable, "-c", ASK, other.address, str(PORT), request).stdout)
    lines = [line for line in said.split("\r\n") if not line.lower().startswith("date:")]
    return lines[0].split()[1], "\n".join(lines[1:])


def test_h52_without_the_token_there_is_nothing(site: Callable[[int], Site], small: Llama) -> None:
    """No block, no hash, no hint: the same refusal for what is there and for what is not."""
    here = site(3)
    here.hub.add_folder(REPO, small.folder)
    first, second, third = here.machines
    share_all(here, among=[first, second])
    listed = ",".join(f"{machine.address}:{PORT}" for machine in here.machines)
    other = here.root / "other-token"
    other.touch(0o600)
    other.write_text("0" * 64)
    third.view.mount("--serve", f"{third.address}:{PORT}", "--peers", listed, "--token-file", other)
    have(first)
    announced(first, small)
    have(third)

    # A byte or so more: its daemon asks whether the Hub gives the files to anyone.
    assert small.size <= here.from_hub(REPO)["m3"].total() <= small.size + 100
    states = {state["address"]: state for state in third.view.peers()["peers"]}
    for machine in (first, second):
        state = states[f"{machine.address}:{PORT}"]
        assert (state["answers"], state["blobs"], state["gave_bytes"]) == (False, 0, 0)
        assert "token" in state["why"]
    known = first.view.run("cid", first.home / FOLDER / "snapshots").stdout.split()[0]
    blob = weights(first, small)[0]
    root = first.view.run("cid", blob).stdout.split()[0]
    absent = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"
    sha256 = blob.name
    asked = [
        ("GET", f"/ipfs/{root}?format=raw", ""),
        ("GET", f"/ipfs/{known}?format=car", ""),
        ("GET", f"/ipfs/{absent}?format=raw", ""),
        ("POST", "/ipfsfs/v1/ask", json.dumps({"id": "0" * 32, "blobs": [sha256]})),
        ("POST", "/ipfsfs/v1/ask", json.dumps({"id": "0" * 32, "blobs": ["1" * 64]})),
        ("POST", "/ipfsfs/v1/lease", json.dumps({"id": "0" * 32, "port": 1, "want": [[sha256, 1]]})),
        ("GET", "/ipfsfs/v1/peer", ""),
    ]
    answers = [ask(third, first, *question) for question in asked]
    assert {status for status, _ in answers} == {"401"}
    assert answers[0] == answers[1] == answers[2]
    assert answers[3] == answers[4]
    for _, said in answers:
        assert sha256 not in said
        assert root not in said
    assert second.view.peers()["gave"] == 0
    end(here)


def test_addresses_that_are_not_machines_cost_little(site: Callable[[int], Site], small: Llama) -> None:
    """A list with names that lead nowhere: the load is a plain download, and no slower by more than a second."""
    here = site(2)
    here.hub.add_folder(REPO, small.folder)
    first, alone = here.machines
    here.hub.limit(each=10_000_000)
    alone_s = have(alone)
    share_all(here, among=[first], peers=f"{first.address}:{PORT},10.77.0.201:{PORT},10.77.0.202:{PORT}")
    shared_s = have(first)
    assert shared_s < alone_s + 1.5
    holds(first, small)
    end(here)
