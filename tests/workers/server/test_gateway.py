"""The gateway, by real files and a real process: what HTTP clients and caches rely on."""

from __future__ import annotations

import random
import subprocess
from hashlib import sha256

import pytest

from ipfsfs.store.blocks import Blocks
from ipfsfs.unixfs import car, cid, dagpb, file
from ipfsfs.unixfs.dagpb import Type, Unixfs
from ipfsfs.unixfs.file_walk import FileWalk
from tests.support.cars import raw
from tests.support.processes import eventually
from tests.support.served import MEBIBYTE, ServedDirectory
from tests.workers.server.conftest import Got, ask

DATA = random.Random(5).randbytes(3 * MEBIBYTE + 77)
SMALL = random.Random(6).randbytes(3_000)


def car_of(got: Got) -> dict[bytes, bytes]:
    """The blocks of a CAR, each compared with its CID."""
    return dict(frames_of(got))


def frames_of(got: Got) -> list[tuple[bytes, bytes]]:
    assert got.status == 200, got.body
    reader = car.Reader()
    frames = list(reader.feed(got.body))
    reader.finish()
    return frames


def ask_car(server: ServedDirectory, root: bytes, query: str = "") -> Got:
    return ask(server, f"/ipfs/{cid.to_text(root)}?format=car{query}")


def walked(root: bytes, size: int, blocks: dict[bytes, bytes]) -> bytes:
    """A file's bytes, put together from blocks."""
    walk = FileWalk(root, size)
    while wanted := walk.wanted():
        for one in wanted:
            walk.give(one, blocks[one])
    return b"".join(blocks[leaf.cid] for leaf in walk.leaves())


def test_blocks_by_curl(server: ServedDirectory) -> None:
    root = server.offer("blobs/x", DATA)
    server.wait_until(blobs=1)
    url = f"{server.address}/ipfs/{{}}?format=raw"
    first, root_url = url.format(cid.to_text(raw(DATA[:MEBIBYTE]))), url.format(cid.to_text(root))
    done = subprocess.run(["curl", "-sSv", first, root_url], capture_output=True, check=True)
    assert done.stdout[:MEBIBYTE] == DATA[:MEBIBYTE]
    assert file.node([(raw(part), len(part), len(part)) for part in _parts(DATA)])[1] == done.stdout[MEBIBYTE:]
    assert b"e-using existing" in done.stderr
    head = subprocess.run(["curl", "-sSI", first], capture_output=True, check=True).stdout.decode().lower()
    assert f"content-length: {MEBIBYTE}" in head
    assert "content-type: application/vnd.ipld.raw" in head
    assert "cache-control: public, max-age=29030400, immutable" in head


def _parts(data: bytes, size: int = MEBIBYTE) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def test_each_block_of_a_file_of_many_leaves(server: ServedDirectory) -> None:
    """Two levels of nodes, a last node with one leaf, and leaves of several lengths."""
    data = random.Random(8).randbytes(1_025 * 1_000 - 500)
    root = server.offer("deep", data, chunk=1_000)
    server.wait_until(blobs=1)
    built = file.build((raw(part), len(part)) for part in _parts(data, 1_000))
    assert built.cid == root
    for one, block in built.nodes:
        assert ask(server, one).body == block
    for part in (_parts(data, 1_000)[index] for index in (0, 255, 256, 257, 1_023, 1_024)):
        assert ask(server, raw(part)).body == part
    assert walked(root, len(data), car_of(ask_car(server, root))) == data


def ask_run(server: ServedDirectory, leaf: bytes, root: bytes, leaves: int, at: int = 0, form: str = "raw") -> Got:
    target = f"/ipfs/{cid.to_text(leaf)}?format={form}&root={cid.to_text(root)}&at={at}&leaves={leaves}"
    return ask(server, target, Cache_Control="only-if-cached")


def test_leaves_that_follow_each_other_come_in_one_answer(server: ServedDirectory) -> None:
    """As many as are asked for, eight, or 2 MiB at most."""
    root, large = server.offer("x", DATA, chunk=100_000), server.offer("y", DATA)
    server.wait_until(blobs=2)
    parts = _parts(DATA, 100_000)
    for first, asked, given in ((0, 3, 3), (5, 100, 8), (len(parts) - 2, 8, 2), (0, 1, 1), (0, 0, 1)):
        got = ask_run(server, raw(parts[first]), root, asked, at=100_000 * first)
        assert got.body == b"".join(parts[first : first + given])
        assert got.headers.get("ipfsfs-leaves", "1") == str(given)
    assert ask_run(server, raw(DATA[:MEBIBYTE]), large, 8).body == DATA[: 2 * MEBIBYTE]
    assert ask_run(server, raw(parts[0]), large, 8).body == parts[0], "it is of another file"
    assert ask_run(server, raw(parts[0]), root, 8, at=5).body == parts[0], "it lies elsewhere first"
    assert car_of(ask_run(server, raw(parts[0]), root, 8, form="car")) == {raw(parts[0]): parts[0]}
    assert (
        ask(server, f"/ipfs/{cid.to_text(raw(parts[0]))}?format=raw&root={cid.to_text(root)}&leaves=3").body == parts[0]
    )


def test_h47_a_run_ends_before_other_bytes(server: ServedDirectory) -> None:
    root = server.offer("x", DATA, chunk=100_000)
    server.wait_until(blobs=1)
    rotten = bytearray(DATA)
    rotten[200_005] ^= 1
    (server.plain / "x").write_bytes(rotten)
    got = ask_run(server, raw(DATA[:100_000]), root, 8)
    assert (got.headers["ipfsfs-leaves"], got.body) == ("2", DATA[:200_000])
    assert ask_run(server, raw(DATA[200_000:300_000]), root, 8, at=200_000).status == 412


def test_what_is_not_here(server: ServedDirectory) -> None:
    absent = raw(b"nothing has this")
    assert ask(server, absent).status == 404
    assert ask(server, absent, Cache_Control="only-if-cached").status == 412
    assert ask(server, absent, method="HEAD", Cache_Control="no-cache, only-if-cached").status == 412
    assert ask_car(server, absent).status == 404
    assert ask(server, absent).headers["cache-control"] == "no-store"
    assert ask(server, b"\x01\x55\x1b\x20" + bytes(32)).status == 404  # of another hash (keccak-256)


@pytest.mark.parametrize(
    "target",
    [
        "/ipfs/bafybad?format=raw",
        "/ipfs/?format=raw",
        "/ipfs/Q" + "m" * 5_000 + "?format=raw",
        "/ipfs/bafkqaaa/a/path?format=raw",
        "/ipfs/bafkqaaa",
        "/ipfs/bafkqaaa?format=html",
        "/ipfs/bafkqaaa?format=raw&format=raw",
        "/ipfs/bafkqaaa?format=raw" + "&a=b" * 99,
        "/ipfs/bafkqaaa?format=raw&x=%ff",
        "/ipfs/bafkqaaa?format=car&dag-scope=everything",
        "/ipfs/bafkqaaa?format=car&entity-bytes=1",
        "/ipfs/bafkqaaa?format=car&car-version=2",
        "/ipfs/bafkqaaa?format=car&car-dups=perhaps",
        "/ipfs/bafkqaaa?format=raw&root=bafkqaaa&length=99999999",
        "/ipfs/bafkqaaa?format=raw&root=bafkqaaa&length=1&hub=models/a/b/main/x",
        "/ipfs/bafkqaaa?format=raw&root=bafkqaaa&length=1&hub=models/a/b/" + "a" * 40 + "/../x",
        "/ipfs/bafkqaaa?format=raw&root=bafkqaaa&length=1&holders=" + ",".join(f"h{n}:1" for n in range(9)),
    ],
)
def test_questions_that_make_no_sense(server: ServedDirectory, target: str) -> None:
    assert ask(server, target).status == 400


def test_identity_cids(server: ServedDirectory) -> None:
    """The probe of Kubo is one."""
    probe = ask(server, "/ipfs/bafkqaaa?format=raw")
    assert (probe.status, probe.body) == (200, b"")
    assert len(probe.headers) < 12
    held = bytes((1, 0x55, 0, 5)) + b"bytes"
    assert ask(server, held).body == b"bytes"
    assert ask(server, bytes((1, 0x55, 0, 0x81, 0x01)) + bytes(129)).status == 400
    assert ask(server, bytes((1, 0x55, 0, 5)) + b"too many").status == 400


def test_methods(server: ServedDirectory) -> None:
    root = server.offer("x", SMALL)
    server.wait_until(blobs=1)
    head = ask(server, root, method="HEAD")
    assert (head.status, head.headers["content-length"], head.body) == (200, str(len(SMALL)), b"")
    for method in ("PUT", "DELETE", "OPTIONS", "POST"):
        refused = ask(server, root, method=method)
        assert (refused.status, refused.headers["allow"]) == (405, "GET, HEAD")


def test_caches_ask_whether_it_is_the_same(server: ServedDirectory) -> None:
    root = server.offer("x", SMALL)
    server.wait_until(blobs=1)
    etag = ask(server, root).headers["etag"]
    for said in (etag, f'"other", W/{etag}', "*"):
        got = ask(server, root, If_None_Match=said)
        assert (got.status, got.body, got.headers["etag"]) == (304, b"", etag)
    assert ask(server, root, If_None_Match='"other"').status == 200
    assert ask(server, raw(b"absent"), If_None_Match="*").status == 404
    assert ask_car(server, root).headers["etag"] != ask_car(server, root, "&dag-scope=block").headers["etag"]


def test_the_form_by_the_accept_header(server: ServedDirectory) -> None:
    root = server.offer("x", DATA)
    server.wait_until(blobs=1)
    target = f"/ipfs/{cid.to_text(root)}"
    assert ask(server, target, Accept="application/vnd.ipld.raw").headers["content-type"] == "application/vnd.ipld.raw"
    got = ask(server, target, Accept="text/html, application/vnd.ipld.car; version=1; order=dfs; dups=y")
    assert got.headers["content-type"] == "application/vnd.ipld.car; version=1; order=dfs; dups=y"
    assert walked(root, len(DATA), car_of(got)) == DATA


def test_cars_of_a_file(server: ServedDirectory) -> None:
    zeros = bytes(MEBIBYTE)
    data = zeros + DATA + zeros + zeros
    root = server.offer("x", data)
    server.wait_until(blobs=1)
    whole = ask_car(server, root)
    assert walked(root, len(data), car_of(whole)) == data
    frames = [one for one, _ in frames_of(whole)]
    assert frames[0] == root
    assert len(frames) == len(set(frames))
    twice = [one for one, _ in frames_of(ask_car(server, root, "&car-dups=y"))]
    assert len(twice) == 1 + len(_parts(data))
    assert list(car_of(ask_car(server, root, "&dag-scope=block"))) == [root]
    assert car_of(ask_car(server, root, "&dag-scope=entity")) == car_of(whole)


@pytest.mark.parametrize(
    ("span", "leaves"),
    [
        ("0:*", [0, 1, 2, 3]),
        ("0:0", [0]),
        (f"{MEBIBYTE - 1}:{MEBIBYTE}", [0, 1]),
        (f"{MEBIBYTE}:{2 * MEBIBYTE - 1}", [1]),
        ("-1:*", [3]),
        ("-78:-1", [2, 3]),
        (f"0:-{len(DATA)}", [0]),
        (f"{len(DATA)}:*", []),
    ],
)
def test_a_part_of_a_file(server: ServedDirectory, span: str, leaves: list[int]) -> None:
    root = server.offer("x", DATA)
    server.wait_until(blobs=1)
    found = list(car_of(ask_car(server, root, f"&dag-scope=entity&entity-bytes={span}")))
    assert found == [root, *(raw(_parts(DATA)[index]) for index in leaves)]


def test_a_published_tree(server: ServedDirectory) -> None:
    """Its directories lie among the store's blocks, its files in the plain directory."""
    inner = server.offer("x", DATA)
    other = server.offer("y", SMALL)
    directory = _directory([(b"model", inner), (b"other", other)])
    top = _directory([(b"v1", directory[0]), (b"v2", directory[0])])
    with Blocks.of(server.at) as blocks:
        for one, block in (directory, top):
            blocks.put(one, block)
    server.offer_nodes(top[0], [directory[1], top[1]])
    server.wait_until(blobs=2)
    assert ask(server, top[0]).body == top[1]
    found = car_of(ask_car(server, top[0]))
    assert {top[0], directory[0], inner, other} <= set(found)
    assert walked(inner, len(DATA), found) == DATA
    assert list(car_of(ask_car(server, top[0], "&dag-scope=entity"))) == [top[0]]
    server.tell({"do": "withdraw nodes", "root": top[0].hex()})
    eventually(lambda: ask(server, top[0]).status == 404, "it is offered no longer")


def _directory(entries: list[tuple[bytes, bytes]]) -> tuple[bytes, bytes]:
    links = [dagpb.encode_link(one, name, 0) for name, one in entries]
    block = dagpb.encode_node(links, dagpb.encode_unixfs(Unixfs(Type.DIRECTORY)))
    return cid.dag_pb_cid(sha256(block).digest()), block


def test_a_car_that_cannot_be_whole_ends_before_its_end(server: ServedDirectory) -> None:
    """A reader must see that it is not all."""
    root = server.offer("x", DATA)
    server.wait_until(blobs=1)
    content = bytearray(DATA)
    content[2 * MEBIBYTE + 5] ^= 1
    (server.plain / "x").write_bytes(content)
    done = subprocess.run(
        ["curl", "-sS", f"{server.address}/ipfs/{cid.to_text(root)}?format=car"], capture_output=True, check=False
    )
    assert done.returncode == 18  # the transfer ended early
    assert DATA[:MEBIBYTE] in done.stdout
    assert bytes(content[2 * MEBIBYTE : 2 * MEBIBYTE + 100]) not in done.stdout


def test_h47_other_bytes_never_go_out(server: ServedDirectory) -> None:
    """Rot, another file at the path, one that is shorter, a link, a directory, nothing."""
    server.offer("x", DATA)
    server.wait_until(blobs=1)
    at, leaf = server.plain / "x", raw(DATA[:MEBIBYTE])
    assert ask(server, leaf).status == 200
    rotten = bytearray(DATA)
    rotten[77] ^= 1
    at.write_bytes(rotten)
    assert ask(server, leaf).status == 404
    assert ask(server, raw(DATA[MEBIBYTE : 2 * MEBIBYTE])).status == 200
    at.write_bytes(DATA[:-1])
    assert ask(server, leaf).status == 404
    at.rename(server.plain / "y")
    assert ask(server, leaf).status == 404
    at.symlink_to("y")
    (server.plain / "y").write_bytes(DATA)
    assert ask(server, leaf).status == 404
    at.unlink()
    at.mkdir()
    assert ask(server, leaf).status == 404
    at.rmdir()
    at.write_bytes(DATA)
    assert ask(server, leaf).body == DATA[:MEBIBYTE]


def test_h40_the_root_of_a_file_that_is_gone_is_not_here(server: ServedDirectory) -> None:
    """Its nodes could be made again from what the server knows; who asks wants the file."""
    root = server.offer("x", DATA)
    server.wait_until(blobs=1)
    assert ask(server, root, method="HEAD", Cache_Control="only-if-cached").status == 200
    (server.plain / "x").unlink()
    assert ask(server, root, method="HEAD", Cache_Control="only-if-cached").status == 412
    assert ask(server, root).status == 404


def test_what_is_being_loaded(server: ServedDirectory) -> None:
    """Leaves that are in the extent; a hole is none."""
    root = server.offer("", DATA, place="extent", written=False)
    server.wait_until(blobs=1)
    assert ask(server, raw(DATA[:MEBIBYTE])).status == 404
    extent = server.at / "extents" / f"{cid.to_text(root)}.{len(DATA)}"
    with extent.open("wb") as writing:
        writing.truncate(len(DATA))
        writing.seek(MEBIBYTE)
        writing.write(DATA[MEBIBYTE : 2 * MEBIBYTE])
    assert ask(server, raw(DATA[MEBIBYTE : 2 * MEBIBYTE])).body == DATA[MEBIBYTE : 2 * MEBIBYTE]
    assert ask(server, raw(DATA[:MEBIBYTE])).status == 404
    assert ask(server, root).status == 200


def test_offers_that_come_and_go(server: ServedDirectory) -> None:
    first = server.offer("x", DATA)
    second = server.offer("y", DATA[: 2 * MEBIBYTE])  # leaves that both have
    server.wait_until(blobs=2)
    server.withdraw(first, len(DATA))
    server.wait_until(blobs=1)
    assert ask(server, first).status == 404
    assert ask(server, raw(DATA[2 * MEBIBYTE : 3 * MEBIBYTE])).status == 404
    assert ask(server, raw(DATA[:MEBIBYTE])).status == 200
    assert ask(server, second).status == 200
    (server.plain / "y").rename(server.plain / "z")
    assert ask(server, second).status == 404
    server.offer("z", DATA[: 2 * MEBIBYTE], written=False)
    eventually(lambda: ask(server, second).status == 200, "it is offered where it is now")


def test_an_offer_whose_leaves_are_not_its_roots(server: ServedDirectory) -> None:
    root = server.offer("x", DATA)
    server.withdraw(root, len(DATA))
    header, leaves = server.offered[0]
    header["root"] = raw(b"another").hex()
    server.tell(header, leaves)
    server.offer("y", SMALL)
    server.wait_until(blobs=1)
    assert ask(server, raw(DATA[:MEBIBYTE])).status == 404
    assert "do not give it" in server.complaints()
