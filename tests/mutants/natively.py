"""Mutants of the promises on files that the kernel reads itself: S85."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Mutant

_NATIVE: Final = "tests/mount/native/test_native.py::"

MUTANTS: Final[tuple[Mutant, ...]] = (
    Mutant(
        "S85",
        "nothing is native",
        "ipfsfs/fuse/negotiate.py",
        '    return [*won, f"max-background-{_BACKGROUND}"]\n',
        '    return [*[name for name in won if name != PASSTHROUGH], f"max-background-{_BACKGROUND}"]\n',
        (f"{_NATIVE}test_a_sealed_file_is_read_by_the_kernel_and_others_by_the_daemon",),
    ),
    Mutant(
        "S85",
        "a native file is opened for writing with its seal",
        "ipfsfs/view/resident/resident.py",
        "            if access.writes and entered.file.backing:\n",
        "            if access.writes and entered.file.backing < 0:\n",
        (f"{_NATIVE}test_h17_the_seal_is_broken_on_disk_before_a_writer_of_a_native_file_can_write",),
    ),
    Mutant(
        "S85",
        "a file becomes native beside a handle that the daemon serves",
        "ipfsfs/view/native.py",
        " or file.node in self._served\n",
        "\n",
        (f"{_NATIVE}test_h51_opens_of_both_kinds_never_meet",),
    ),
    Mutant(
        "S85",
        "the kernel keeps hold of a file that nobody has open",
        "ipfsfs/view/native.py",
        "            self._kernel.unregister(file.backing)\n",
        "            pass\n",
        (f"{_NATIVE}test_h51_nothing_holds_a_native_file_once_it_is_closed",),
    ),
    Mutant(
        "S85",
        "native writes break no promise",
        "ipfsfs/view/resident/content.py",
        "            self.serving.breaker.changed(self.file, self.opener.pid)\n",
        "            pass\n",
        (f"{_NATIVE}test_a_promise_that_is_broken_in_place_is_reported_and_its_content_kept",),
    ),
    Mutant(
        "S85",
        "the kernel trusts attributes of what is written past the daemon",
        "ipfsfs/view/kernel_cache.py",
        "            self.written_unseen = True\n",
        "            self.written_unseen = False\n",
        (f"{_NATIVE}test_h22_size_and_times_are_those_of_the_moment_while_a_native_file_is_written",),
    ),
    Mutant(
        "S85",
        "the kernel keeps what it was given while a file was written past the daemon",
        "ipfsfs/view/kernel_cache.py",
        "            self.written_unseen = False\n            self._stale_pages = True\n",
        "            self.written_unseen = False\n",
        (f"{_NATIVE}test_what_the_daemon_was_asked_for_while_a_native_file_was_written_is_not_kept",),
    ),
    Mutant(
        "S85",
        "a file that is mapped to be written counts as closed",
        "ipfsfs/view/resident/content.py",
        "        return writers_of(reading) is Writers.SOME\n",
        "        return False\n",
        ("tests/mount/native/test_mapped.py::test_whoever_reads_sees_what_is_written_through_a_mapping",),
    ),
    Mutant(
        "S85",
        "a filesystem vouches for what it never got",
        "ipfsfs/view/native.py",
        "            if seal.vouches(self.scrubbing.boot):\n",
        "            if True:\n",
        ("tests/mount/native/test_unsettled.py::test_h16_no_seal_outlives_bytes_that_a_power_cut_took",),
    ),
)
