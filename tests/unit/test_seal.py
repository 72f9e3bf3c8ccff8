"""What a seal says of a file."""

from __future__ import annotations

import pytest

from ipfsfs.store.seal import UNIT, boot_id, sums_size
from tests.support.seals import seal_of


@pytest.mark.parametrize(
    ("leased", "settled", "same_boot", "vouches"),
    [
        (True, False, True, True),
        (True, True, False, True),
        (True, False, False, False),
        (False, True, True, False),
        (False, False, True, False),
    ],
)
def test_h16_a_mismatch_is_rot_only_if_nobody_could_write_and_the_bytes_reached_the_disk(
    leased: bool, settled: bool, same_boot: bool, vouches: bool
) -> None:
    seal = seal_of(b"x", leased=leased, settled=settled, boot=boot_id() if same_boot else "another")
    assert seal.vouches(boot_id()) is vouches


def test_leaves_come_back_as_packed() -> None:
    seal = seal_of(bytes(3 << 20))
    assert [length for length, _ in seal.iter_leaves()] == [1 << 20] * 3
    assert len({digest for _, digest in seal.iter_leaves()}) == 1


@pytest.mark.parametrize(("size", "units"), [(0, 0), (1, 1), (UNIT, 1), (UNIT + 1, 2)])
def test_one_checksum_for_each_unit_begun(size: int, units: int) -> None:
    assert sums_size(size) == 8 * units == len(seal_of(bytes(size)).sums)
