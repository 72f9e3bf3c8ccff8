"""What paths of a Hugging Face cache are, at whatever directory the mount is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfsfs.caches.huggingface import HubPlace
from ipfsfs.caches.place import Kind, locate
from ipfsfs.caches.registry import root_place

_SHA = "0123456789abcdef" * 4
_SHA1 = "0123456789abcdef01234567" + "0" * 16
_REPO = "hub/models--org--name"
_SNAPSHOT = f"{_REPO}/snapshots/{_SHA1}"

_KINDS = {
    # Promises: 64 hex digits directly in a repository's blobs (H24).
    f"{_REPO}/blobs/{_SHA}": Kind.PROMISE,
    f"hub/datasets--org--name/blobs/{_SHA}": Kind.PROMISE,
    f"hub/spaces--org--name/blobs/{_SHA}": Kind.PROMISE,
    f"hub/kernels--org--name/blobs/{_SHA}": Kind.PROMISE,
    # Not promises, though they look like it.
    f"{_REPO}/blobs/{_SHA1}": Kind.CONTENT,
    f"{_REPO}/blobs/{_SHA.upper()}": Kind.CONTENT,
    f"{_REPO}/blobs/{_SHA[:-1]}": Kind.CONTENT,
    f"{_REPO}/blobs/{_SHA}0": Kind.CONTENT,
    f"{_REPO}/blobs/{_SHA}\n": Kind.CONTENT,
    f"{_REPO}/{_SHA}": Kind.CONTENT,
    f"{_REPO}/blobs/deeper/{_SHA}": Kind.CONTENT,
    f"{_SNAPSHOT}/blobs/{_SHA}": Kind.CONTENT,
    f"{_SNAPSHOT}/models--org--name/blobs/{_SHA}": Kind.CONTENT,
    f"hub/blobs/01/{_SHA}": Kind.CONTENT,
    f"hub/blobs/{_SHA}": Kind.CONTENT,
    f"datasets/downloads/{_SHA}": Kind.CONTENT,
    f"hub/buckets--org--name/blobs/{_SHA}": Kind.CONTENT,
    f"hub/models--/blobs/{_SHA}": Kind.CONTENT,
    # Content.
    f"{_SNAPSHOT}/config.json": Kind.CONTENT,
    f"{_SNAPSHOT}/onnx/model.onnx": Kind.CONTENT,
    f"{_REPO}/refs/main": Kind.CONTENT,
    f"{_REPO}/refs/pr/1": Kind.CONTENT,
    f"{_REPO}/trees/{_SHA1}.json": Kind.CONTENT,
    f"{_REPO}/.no_exist/{_SHA1}/adapter_config.json": Kind.CONTENT,
    f"hub/blobs/01/{_SHA}.refs": Kind.CONTENT,
    "hub/blobs/.huggingface-shared-blobs": Kind.CONTENT,
    "hub/CACHEDIR.TAG": Kind.CONTENT,
    "hub/version.txt": Kind.CONTENT,
    "datasets/ns___name/default/0.0.0/abc/name-train.arrow": Kind.CONTENT,
    "datasets/ns___name/default/0.0.0/abc/dataset_info.json": Kind.CONTENT,
    "datasets/ns___name/default/0.0.0/abc/cache-0123456789abcdef.arrow": Kind.CONTENT,
    "modules/transformers_modules/org/name/abc/modeling.py": Kind.CONTENT,
    "accelerate/notes.txt": Kind.CONTENT,
    "assets/lib/ns/file": Kind.CONTENT,
    "tokenizer.json": Kind.CONTENT,
    "tokens.txt": Kind.CONTENT,
    "token-classification.json": Kind.CONTENT,
    "tmp.bin": Kind.CONTENT,
    "id_rsa.pub": Kind.CONTENT,
    "xet/logs.txt": Kind.CONTENT,
    "xet/https___cas/chunk-cache/ab/cd": Kind.CONTENT,
    "train.log": Kind.CONTENT,
    "sandbox/other/hosts.json": Kind.CONTENT,
    "pools/abc/hosts.json": Kind.CONTENT,
    # Scratch.
    f"{_REPO}/blobs/{_SHA}.1a2b3c4d.incomplete": Kind.SCRATCH,
    f"{_REPO}/blobs/{_SHA}.incomplete": Kind.SCRATCH,
    f"{_REPO}/blobs/.{_SHA}.1a2b3c4d.shared": Kind.SCRATCH,
    f"{_REPO}/blobs/.{_SHA}.1a2b3c4d.new": Kind.SCRATCH,
    f"{_REPO}/blobs/.{_SHA}.1a2b3c4d.old": Kind.SCRATCH,
    f"{_REPO}/blobs/{_SHA}.downloadInProgress": Kind.SCRATCH,
    f"{_REPO}/blobs/{_SHA}.aria2": Kind.SCRATCH,
    f"{_REPO}/blobs/.{_SHA}.1a2b3c4d.withdrawn": Kind.SCRATCH,
    f"{_REPO}/blobs/tmp_6a1f0c1e-0000-0000-0000-000000000000": Kind.SCRATCH,
    f"{_REPO}/refs/main.1a2b3c4d.tmp": Kind.SCRATCH,
    f"{_REPO}/refs/pr/1.tmp": Kind.SCRATCH,
    f"{_REPO}/trees/tmpab_c1234.tmp": Kind.SCRATCH,
    f"hub/.locks/models--org--name/{_SHA}.lock": Kind.SCRATCH,
    f"hub/.locks/models--org--name/{_SHA}": Kind.SCRATCH,
    f"hub/blobs/01/{_SHA}.lock": Kind.SCRATCH,
    "hub/blobs/.huggingface-shared-blobs.1a2b3c4d.tmp": Kind.SCRATCH,
    "hub/tmpabcd1234/dummy_file_src": Kind.SCRATCH,
    "datasets/_root_cache.lock": Kind.SCRATCH,
    "datasets/ns___name/default/0.0.0/abc.incomplete/name-train.arrow": Kind.SCRATCH,
    "datasets/ns___name/default/0.0.0/abc/tmp1a2b3c4d": Kind.SCRATCH,
    "xet/logs/xet_20261101T000000_1.log": Kind.SCRATCH,
    # Secrets (H36).
    "token": Kind.SECRET,
    "token.tmp": Kind.SECRET,
    "token.lock": Kind.SECRET,
    "token.1a2b3c4d.incomplete": Kind.SECRET,
    "token~": Kind.SECRET,
    ".token": Kind.SECRET,
    ".token.swp": Kind.SECRET,
    ".tokenabc": Kind.SECRET,
    "stored_tokens": Kind.SECRET,
    "stored_tokens.lock": Kind.SECRET,
    "stored_tokens.bak": Kind.SECRET,
    ".stored_tokens.1.tmp": Kind.SECRET,
    "anywhere/below/token": Kind.SECRET,
    f"{_SNAPSHOT}/token": Kind.SECRET,
    f"{_REPO}/blobs/token": Kind.SECRET,
    "hub/.locks/token": Kind.SECRET,
    "x.incomplete/token": Kind.SECRET,
    "sandbox/pools/abc/hosts.json": Kind.SECRET,
    "sandbox/pools/abc/hosts.json.x1.tmp": Kind.SECRET,
    "sandbox/pools/.lock": Kind.SECRET,
    "accelerate/default_config.yaml": Kind.SECRET,
    "accelerate/default_config.json": Kind.SECRET,
    "accelerate/default_config.yaml.bak": Kind.SECRET,
    ".netrc": Kind.SECRET,
    ".env": Kind.SECRET,
    ".env.local": Kind.SECRET,
    "ssh/id_ed25519": Kind.SECRET,
    "kaggle.json": Kind.SECRET,
    "keys/server.pem": Kind.SECRET,
    ".git-credentials": Kind.SECRET,
}


@pytest.mark.parametrize("path", _KINDS)
def test_h24_h36_kind_of_a_path_at_every_mount(path: str) -> None:
    """The same file is the same, whether the mount is of ~/.cache, of ~/.cache/huggingface, or of something below."""
    above = ["", "home", "me", ".cache", "huggingface"]
    names = [*above, *path.split("/")]
    for at in range(1, len(names)):
        root = "/".join(names[:at]) or "/"
        if "incomplete" in root or "tmp" in root:
            continue  # see test_what_is_mounted_is_meant
        found = locate("/".join(names[at:]).encode(), root_place(root.encode()))[1]
        assert found.kind is _KINDS[path], root
        assert found.promise == (bytes.fromhex(_SHA) if found.kind is Kind.PROMISE else None)


@pytest.mark.parametrize("root", [b"/tmp/tmp1a2b3c4d", b"/x/abc.incomplete", b"/x/abc.incomplete/deeper"])
def test_what_is_mounted_is_meant(root: bytes) -> None:
    """A mount below a directory with a temporary name is no scratch, or a cache there would never be sealed."""
    assert locate(b"config.json", root_place(root))[1].kind is Kind.CONTENT
    assert locate(f"{_REPO}/blobs/{_SHA}".encode(), root_place(root))[1].kind is Kind.PROMISE


def test_root_of_a_mount_knows_where_it_is() -> None:
    assert root_place(b"/home/me/.cache/huggingface/hub/models--org--name/blobs") is HubPlace.BLOBS
    assert root_place(b"/home/me/.cache/huggingface/sandbox/pools") is HubPlace.SANDBOX_POOLS
    assert root_place(b"/data/datasets/blobs/hub/models--org--name/blobs/") is HubPlace.BLOBS
    assert root_place(b"/") is HubPlace.OTHER


_IMMUTABLE = {
    (f"{_REPO}/blobs/{_SHA}", False): True,
    (f"{_REPO}/blobs/{_SHA}", True): True,  # a link into the shared store
    (f"{_REPO}/blobs/{_SHA1}", False): True,  # no promise, but not rewritten either
    (f"{_REPO}/blobs/{_SHA}.1a2b3c4d.incomplete", False): False,
    (f"{_REPO}/snapshots/{_SHA1}", False): False,  # a directory, which may be removed and made again
    (f"{_REPO}/snapshots/{_SHA1}", True): False,
    (f"{_REPO}/snapshots/main", False): False,
    (f"{_SNAPSHOT}/config.json", True): True,
    (f"{_SNAPSHOT}/onnx/model.onnx", True): True,
    (f"{_SNAPSHOT}/config.json", False): False,  # a copy: symlinks are switched off
    (f"{_REPO}/snapshots/main/config.json", True): False,
    (f"{_REPO}/refs/main", False): False,
    (f"{_REPO}/refs/main", True): False,
    (f"hub/blobs/01/{_SHA}", False): True,
    (f"hub/blobs/01/{_SHA}.refs", False): False,
    (f"hub/blobs/xx/{_SHA}", False): False,
    ("hub", False): False,
    ("datasets/a/b.arrow", False): False,
    ("link", True): False,
}


@pytest.mark.parametrize(("path", "is_link"), _IMMUTABLE)
def test_h22_what_the_kernel_may_keep(path: str, is_link: bool) -> None:
    place, _ = locate(path.encode(), HubPlace.OTHER)
    assert place.is_immutable(path.rpartition("/")[2].encode(), is_link=is_link) is _IMMUTABLE[path, is_link]


_NAMES = "hub models--a--b blobs snapshots 01 xet logs sandbox pools accelerate .locks refs x.incomplete token file"
_PARTS = st.sampled_from([_SHA1.encode(), _SHA.encode(), *_NAMES.encode().split()]) | st.binary(
    min_size=1, max_size=20
).filter(lambda name: b"/" not in name)


@given(st.lists(_PARTS, min_size=1, max_size=8))
def test_h36_a_token_is_secret_wherever_it_is(parts: list[bytes]) -> None:
    place = locate(b"/".join([*parts, b"x"]), HubPlace.OTHER)[0]
    assert place.classify(b"token").kind is Kind.SECRET
    assert place.classify(b"stored_tokens").kind is Kind.SECRET


@given(st.lists(_PARTS, min_size=1, max_size=8))
def test_going_down_step_by_step_or_at_once(parts: list[bytes]) -> None:
    place = HubPlace.OTHER
    for part in parts[:-1]:
        place = place.enter(part)
    name = place.classify(parts[-1])
    assert locate(b"/".join(parts), HubPlace.OTHER) == (place, name)
    if name.promise is not None:
        assert name.kind is Kind.PROMISE
        assert parts[-2] == b"blobs"
        assert parts[-3].split(b"--")[0] in (b"models", b"datasets", b"spaces", b"kernels")
