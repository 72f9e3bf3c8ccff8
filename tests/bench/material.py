"""What lies in the places: made once on plain disk, then copied, so that it is the same in each."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.support.hub import LocalHub

if TYPE_CHECKING:
    from tests.bench.bench import Bench

BIG: Final = "big.bin"
FOUR: Final = ("first.bin", "second.bin", "third.bin", "fourth.bin")
"""Together as large as that."""
MODEL: Final = "bench/model"
FILES_EACH: Final = 12
"""Files of each repository: eleven small ones, and one that stands for weights."""
HTTP: Final = "bench/over-http"
XET: Final = "bench/over-xet"
WEIGHTS: Final = "bench/weights-over-http"
WEIGHTS_XET: Final = "bench/weights-over-xet"
WEIGHTS_SIZE: Final = 500 << 20


@dataclass(frozen=True, slots=True)
class Scale:
    """How much of everything; sizes in bytes. `passes`: how often in one measurement what is warm is read."""

    big: int
    passes: int
    model_layers: int
    repositories: int
    lookups: int
    download: int
    rows: int
    small_files: int
    untar_files: int
    copied: int
    locks: int
    opens: int
    stats: int
    sealed_files: int
    known_files: int


FULL: Final = Scale(
    big=512 << 20,
    passes=4,
    model_layers=13,
    repositories=1000,
    lookups=1000,
    download=256 << 20,
    rows=100_000,
    small_files=500,
    untar_files=12_000,
    copied=512 << 20,
    locks=2000,
    opens=5000,
    stats=100_000,
    sealed_files=2000,
    known_files=100_000,
)
QUICK: Final = Scale(
    big=256 << 20,
    passes=4,
    model_layers=4,
    repositories=100,
    lookups=300,
    download=64 << 20,
    rows=20_000,
    small_files=200,
    untar_files=1000,
    copied=128 << 20,
    locks=500,
    opens=1000,
    stats=50_000,
    sealed_files=500,
    known_files=20_000,
)


@contextmanager
def hub(root: Path) -> Iterator[LocalHub]:
    """A local Hub that a Ctrl-C does not reach: it is ended here, and would complain."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT,))  # inherited, and here only put off
    try:
        running = LocalHub(root)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    with running:
        yield running


def copy_tree(source: Path, target: Path) -> None:
    """Copy everything with its times, really: no shared blocks."""
    subprocess.run(["cp", "-a", "--reflink=never", f"{source}/.", target], check=True)


def noise(size: int) -> Iterator[bytes]:
    """Bytes that nothing compresses, a MiB at a time; quicker to come by than fresh ones."""
    base = bytearray(os.urandom(1 << 20))
    for number in range(-(-size // len(base))):
        base[:8] = number.to_bytes(8, "little")
        yield bytes(base[: size - number * len(base)])


def write(file: Path, size: int) -> Path:
    """A file of noise."""
    with file.open("wb") as out:
        for block in noise(size):
            out.write(block)
    return file


def repository(number: int) -> str:
    return f"bench/repository-{number:04}"


def folder(root: Path, repo_id: str) -> Path:
    """Where a model is in a cache whose HF_HOME is `root`."""
    return root / "hub" / f"models--{repo_id.replace('/', '--')}"


def commit(repo_id: str) -> str:
    return hashlib.sha1(repo_id.encode(), usedforsecurity=False).hexdigest()


def file_names() -> list[str]:
    return ["config.json", *(f"file-{number}.json" for number in range(FILES_EACH - 2)), "model.safetensors"]


def place_in_cache(root: Path, repo_id: str, files: dict[str, bytes | Path]) -> None:
    """Lay files out as a download leaves them: blobs by their hash, a snapshot of links, a ref. Paths are moved."""
    at, revision = folder(root, repo_id), commit(repo_id)
    snapshot = at / "snapshots" / revision
    for directory in (at / "blobs", at / "refs", snapshot):
        directory.mkdir(parents=True)
    (at / "refs" / "main").write_text(revision)
    for name, content in files.items():
        lfs = name.endswith(".safetensors")
        if isinstance(content, Path):
            with content.open("rb") as data:
                blob = at / "blobs" / hashlib.file_digest(data, "sha256").hexdigest()
            content.rename(blob)
        else:
            digest = hashlib.sha256(content) if lfs else hashlib.sha1(content, usedforsecurity=False)
            blob = at / "blobs" / digest.hexdigest()
            blob.write_bytes(content)
        os.symlink(f"../../blobs/{blob.name}", snapshot / name)


def make_big(bench: Bench) -> None:
    write(bench.places["plain"].root / BIG, bench.scale.big)


def make_four(bench: Bench) -> None:
    for name in FOUR:
        write(bench.places["plain"].root / name, bench.scale.big // 4)


def make_model(bench: Bench) -> None:
    """A model of some 509 MB (at full scale) of bf16."""
    from tests.bench import loading

    plain = bench.places["plain"]
    made = bench.scratch / "model"
    bench.client(plain, loading.ready_transformers).run(loading.save_model, str(made), bench.scale.model_layers)
    place_in_cache(plain.root, MODEL, {file.name: file for file in sorted(made.iterdir()) if file.suffix != ".json"})
    snapshot = folder(plain.root, MODEL) / "snapshots" / commit(MODEL)
    for file in made.glob("*.json"):
        data = file.read_bytes()
        blob = snapshot.parents[1] / "blobs" / hashlib.sha1(data, usedforsecurity=False).hexdigest()
        blob.write_bytes(data)
        os.symlink(f"../../blobs/{blob.name}", snapshot / file.name)
    shutil.rmtree(made)


def make_repositories(bench: Bench) -> None:
    """Repositories of 12 files, as a cache that has grown for years has them."""
    root = bench.places["plain"].root
    for number in range(bench.scale.repositories):
        repo_id = repository(number)
        place_in_cache(
            root, repo_id, {name: json.dumps({"repository": repo_id, "file": name}).encode() for name in file_names()}
        )


def make_rows(bench: Bench) -> None:
    """A dataset of some 30 MB (at full scale) in the cache of `datasets`, built from a Parquet file outside."""
    from tests.bench import loading

    plain = bench.places["plain"]
    client = bench.client(plain, loading.ready_datasets)
    client.run(loading.save_parquet, str(parquet(bench)), bench.scale.rows)
    client.run(loading.load_rows, str(parquet(bench)), str(plain.root / "datasets"))


def make_hub(bench: Bench) -> None:
    """Two repositories to download, of one large file and some small ones each."""
    for repo_id, over_xet in ((HTTP, False), (XET, True)):
        weights = write(bench.scratch / "model.safetensors", bench.scale.download)
        small = {f"file-{number}.json": f"{repo_id} {number}".encode() for number in range(4)}
        bench.hub.add(repo_id, {**small, "model.safetensors": weights}, xet=over_xet)
        weights.unlink()


def make_weights(bench: Bench) -> None:
    """Two repositories of one file of weights."""
    weights = write(bench.scratch / "model.safetensors", WEIGHTS_SIZE)
    bench.hub.add(WEIGHTS, {weights.name: weights})
    bench.hub.add(WEIGHTS_XET, {weights.name: weights}, xet=True)
    weights.unlink()


def make_tar(bench: Bench) -> None:
    """An archive of small files in a hundred directories."""
    tree = bench.scratch / "tree"
    for number in range(bench.scale.untar_files):
        file = tree / f"{number % 100:02}" / f"{number}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"%d\n" % number * 200)
    subprocess.run(["tar", "-C", tree, "-cf", tar(bench), "."], check=True)
    shutil.rmtree(tree)


def make_copied(bench: Bench) -> None:
    write(copied(bench), bench.scale.copied)


def parquet(bench: Bench) -> Path:
    return bench.scratch / "rows.parquet"


def tar(bench: Bench) -> Path:
    return bench.scratch / "tree.tar"


def copied(bench: Bench) -> Path:
    return bench.scratch / "copied.bin"


MAKERS: Final[dict[str, Callable[[Bench], None]]] = {
    "big": make_big,
    "four": make_four,
    "model": make_model,
    "repositories": make_repositories,
    "rows": make_rows,
    "hub": make_hub,
    "weights": make_weights,
    "tar": make_tar,
    "copied": make_copied,
}
