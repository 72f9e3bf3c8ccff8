"""Native files whose seal is older than the last time that the machine went down (H16)."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Final

import pytest

from ipfsfs.store.seal import Seal
from tests.support.calls import cid_of
from tests.support.mounted import Mounted
from tests.support.native import read_by_the_kernel
from tests.support.processes import eventually
from tests.support.promised import is_sealed
from tests.support.seals import seal_of
from tests.support.stores import amend_seals

pytestmark = pytest.mark.root

DATA: Final = random.Random(53).randbytes(1_000_000)


def test_h16_no_seal_outlives_bytes_that_a_power_cut_took(native: Mounted) -> None:
    """The filesystem vouches for what it has, and not for what it never got."""
    path = native.path / "file"
    path.write_bytes(DATA)
    native.seal()
    right = cid_of(path)
    native.umount()
    lost = seal_of(DATA[:500_000] + b"lost" + DATA[500_004:])

    def of_before(seal: Seal) -> Seal:
        """As if more had been written before the power went, of which the disk has nothing."""
        return replace(
            seal, boot="another", settled=False, root=lost.root, leaves=lost.leaves, sums=lost.sums, sha256=lost.sha256
        )

    amend_seals(native.path, native.store, of_before)
    native.expect_logged.append("file: changed or rotten")
    native.mount()
    assert path.read_bytes() == DATA
    eventually(lambda: cid_of(path) == right, "it is sealed as it is")
    assert read_by_the_kernel(native, path)


def test_h16_a_seal_of_another_boot_that_holds_is_read_by_the_kernel_again(native: Mounted) -> None:
    path = native.path / "file"
    path.write_bytes(DATA)
    native.seal()
    native.umount()
    amend_seals(native.path, native.store, lambda seal: replace(seal, boot="another", settled=False))
    native.mount()
    assert not read_by_the_kernel(native, path)
    assert path.read_bytes() == DATA
    eventually(lambda: is_sealed(path), "it is sealed anew")
    assert read_by_the_kernel(native, path)
