"""What the kernel has of a file is kept only while it is right (H22)."""

from __future__ import annotations

from dataclasses import dataclass

from ipfsfs.view.kernel_cache import KernelCache, Pages


@dataclass(slots=True, frozen=True)
class _Content:
    """A file whose content was changed last at a time that hides no change."""

    st_mtime_ns: int
    st_dev: int = 1
    st_ino: int = 2
    st_nlink: int = 1
    st_size: int = 3

    @property
    def st_ctime_ns(self) -> int:
        return self.st_mtime_ns


BEFORE, NOW, LATER = _Content(1_000_000_001), _Content(2_000_000_001), _Content(3_000_000_001)


def test_h22_who_was_refused_once_and_did_not_come_back_gets_no_old_pages() -> None:
    """It was refused when the file was changed beneath, and found another one by the name. Then it opens this one."""
    cache = KernelCache()
    cache.told(BEFORE)
    assert cache.opened(NOW, pid=7) is Pages.LOOK_AGAIN
    cache.told(NOW)
    assert cache.opened(NOW, pid=8) is Pages.DROP
    assert cache.opened(NOW, pid=8) is Pages.KEEP, "what it has is right now"
    assert cache.opened(LATER, pid=7) is not Pages.KEEP


def test_h22_a_process_is_refused_once_for_a_change() -> None:
    cache = KernelCache()
    cache.told(BEFORE)
    assert cache.opened(NOW, pid=7) is Pages.LOOK_AGAIN
    assert cache.opened(LATER, pid=7) is Pages.DROP, "the kernel tries once more, and then says ESTALE"
