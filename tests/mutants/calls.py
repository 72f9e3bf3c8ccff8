"""Mutants that break what the page promises of the plain directory and of calls (S1 to S10)."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Mutant

SEMANTICS: Final = "tests/mount/test_semantics.py::"
KERNEL: Final = "tests/mount/test_hazards_kernel.py::"
BENEATH: Final = "tests/faults/test_beneath.py::"

MUTANTS: Final = (
    Mutant(
        "S1",
        "a write is acknowledged and never made",
        "ipfsfs/plain/ownership.py",
        "        if not self.root or uid == 0:\n            return os.pwrite(fd, data, offset)\n",
        "        if not self.root or uid == 0:\n            return len(data)\n",
        (f"{KERNEL}test_h10_h15_what_was_written_is_in_the_plain_file_at_once",),
    ),
    Mutant(
        "S1",
        "a file of ours is left in the plain directory",
        "ipfsfs/daemon/lifecycle.py",
        '    os.chdir("/")\n',
        '    os.chdir("/")\n    os.close(os.open(".ipfsfs", os.O_CREAT | os.O_WRONLY, dir_fd=plain.fd))\n',
        (f"{SEMANTICS}test_what_is_there_is_not_touched_by_mounting_and_lacks_nothing_after_it",),
    ),
    Mutant(
        "S3",
        "a store that is removed ends the view",
        "ipfsfs/store/seals.py",
        "        if self.index is not None:\n            self.index.discard()\n        self.index = None\n",
        "        raise error\n",
        ("tests/faults/test_index.py::test_the_whole_store_is_removed_while_mounted",),
    ),
    Mutant(
        "S4",
        "a chmod loses the set-user-id bit",
        "ipfsfs/view/resident/resident.py",
        "held.chmod(fd, stat_.S_IMODE(changes.mode))",
        "held.chmod(fd, stat_.S_IMODE(changes.mode) & 0o1777)",
        ("tests/mount/test_posix_files.py::test_all_permission_bits_are_set_and_shown",),
    ),
    Mutant(
        "S4",
        "an exchange of names loses one file",
        "ipfsfs/view/renames.py",
        "entries.rename(src_fd, source.name, dst_fd, target.name, move.flags)",
        "entries.rename(src_fd, source.name, dst_fd, target.name, move.flags & ~2)",
        ("tests/mount/test_posix_renames.py::test_rename_of_all_kinds_over_all_kinds",),
    ),
    Mutant(
        "S5",
        "a CID can be set",
        "ipfsfs/view/resident/xattrs.py",
        '            raise OSError(errno.EPERM, "a CID follows from the content")\n',
        "            return\n",
        ("tests/mount/test_posix_special.py::test_what_the_view_refuses_it_refuses_with_what_callers_fall_back_from",),
    ),
    Mutant(
        "S6",
        "an open goes on with the size the kernel was told",
        "ipfsfs/view/kernel_cache.py",
        "            if self._is_first(pid):\n",
        "            if self._is_first(pid) and False:\n",
        (
            f"{KERNEL}test_h22_what_was_appended_beneath_is_read_by_the_next_open",
            f"{BENEATH}test_h22_an_open_sees_a_change_at_once",
        ),
    ),
    Mutant(
        "S6",
        "the kernel keeps every name for a day",
        "ipfsfs/view/names.py",
        "SHORT_S: Final = 1.0\n",
        "SHORT_S: Final = 86_400.0\n",
        (f"{BENEATH}test_h22_names_come_go_and_change_their_kind_beneath",),
    ),
    Mutant(
        "S6",
        "the kernel keeps a listing for ever",
        "ipfsfs/view/listings.py",
        "        unchanged = node.listed == stamp(self.nodes.confirm(node))\n",
        "        unchanged = node.listed > _CHANGING or bool(self.nodes.confirm(node) is None)\n",
        ("tests/mount/test_listings.py::test_h22_a_listing_is_kept_and_never_an_old_one",),
    ),
    Mutant(
        "S7",
        "files belong to the daemon's user",
        "ipfsfs/plain/ownership.py",
        "        acting = self.root and (uid != 0 or gid != 0)\n",
        "        acting = False\n",
        ("tests/mount/test_hazards_content.py::test_h34_files_belong_to_who_makes_them_and_permissions_hold",),
    ),
    Mutant(
        "S7",
        "the umask of who makes a file counts for nothing",
        "ipfsfs/plain/ownership.py",
        "        previous = os.umask(umask)\n",
        "        previous = os.umask(0)\n",
        ("tests/mount/test_hazards_content.py::test_h34_files_belong_to_who_makes_them_and_permissions_hold",),
    ),
    Mutant(
        "S7",
        "everybody is let in",
        "ipfsfs/fuse/mountpoint.py",
        '    options = f"fd={fd},rootmode={root_mode:o},user_id=0,group_id=0"\n    if allow_other:\n',
        '    options = f"fd={fd},rootmode={root_mode:o},user_id=0,group_id=0"\n    if True:\n',
        ("tests/mount/test_users.py::test_other_users_are_kept_out_unless_they_are_let_in",),
    ),
    Mutant(
        "S7",
        "an ordinary user's view makes files for others",
        "ipfsfs/plain/ownership.py",
        "        if not self.root and uid != self.uid:\n",
        "        if self.root and uid == -1:\n",
        ("tests/mount/test_users.py::test_nobody_else_makes_files_in_the_view_of_an_ordinary_user",),
    ),
    Mutant(
        "S8",
        "locks are asked of the daemon",
        "ipfsfs/fuse/negotiate.py",
        '    "handle-killpriv-v2": 1 << 28,\n',
        '    "handle-killpriv-v2": 1 << 28,\n    "flock": 1 << 10,\n    "posix-locks": 1 << 1,\n',
        ("tests/mount/test_posix_locks.py::test_flock_excludes_other_processes_without_waiting",),
    ),
    Mutant(
        "S9",
        "files are opened past the page cache",
        "ipfsfs/fuse/operations.py",
        "        return pyfuse3.FileInfo(fh=opened.number, keep_cache=opened.keep)\n",
        "        return pyfuse3.FileInfo(fh=opened.number, direct_io=True)\n",
        ("tests/mount/test_posix_locks.py::test_mappings",),
    ),
    Mutant(
        "S10",
        "times are set to the microsecond",
        "ipfsfs/plain/held.py",
        "        os.utime(_path(fd), ns=(atime_ns, mtime_ns))\n",
        "        os.utime(_path(fd), ns=(atime_ns // 1000 * 1000, mtime_ns // 1000 * 1000))\n",
        ("tests/mount/test_posix_files.py::test_times_are_kept_to_the_nanosecond_and_over_a_remount",),
    ),
    Mutant(
        "S10",
        "an open is no access",
        "ipfsfs/view/resident/resident.py",
        "            content.count_as_access(fd, st)\n",
        "",
        (f"{KERNEL}test_h21_an_open_through_the_view_counts_as_access",),
    ),
    Mutant(
        "S10",
        "sealing counts as access",
        "ipfsfs/plain/quiet.py",
        "        return held.reopen(fd, flags | os.O_NOATIME)\n",
        "        return held.reopen(fd, flags)\n",
        ("tests/workers/test_sealing.py::test_h21_sealing_and_verifying_leave_access_times_alone",),
    ),
)
