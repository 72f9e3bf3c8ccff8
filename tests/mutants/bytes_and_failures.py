"""Mutants that break what the page promises of bytes, of promised names and of failures of the store (S11 to S19)."""

from __future__ import annotations

from typing import Final

from tests.mutants.calls import KERNEL, SEMANTICS
from tests.mutants.mutant import Mutant

DURABILITY: Final = "tests/mount/test_durability.py::"
ANSWERS: Final = "tests/mount/test_answers.py::"
CHECKED: Final = "tests/unit/test_checked.py::"
ROT: Final = "tests/faults/test_rot.py::"
INDEX: Final = "tests/faults/test_index.py::"
CONTENT: Final = "tests/mount/test_hazards_content.py::"
LEFT_OUT: Final = (f"{SEMANTICS}test_a_directorys_cid_leaves_out_secrets_scratch_and_special_files",)
MARKED: Final = "test_h17_a_seal_is_marked_as_broken_on_the_disk_before_sealed_bytes_change_there"

MUTANTS: Final = (
    Mutant(
        "S11",
        "fsync of a file does nothing",
        "ipfsfs/plain/content.py",
        "    (os.fdatasync if data_only else os.fsync)(fd)\n",
        "    os.fstat(fd)\n",
        (f"{DURABILITY}test_what_was_fsynced_is_on_the_disk_when_the_call_returns",),
    ),
    Mutant(
        "S11",
        "fsync of a directory does nothing",
        "ipfsfs/view/listings.py",
        "        await trio.to_thread.run_sync(os.fsync, self.descriptor(number), limiter=self._fsync_limiter)\n",
        "        self.descriptor(number)\n",
        (f"{DURABILITY}test_what_was_fsynced_is_on_the_disk_when_the_call_returns",),
    ),
    Mutant(
        "S11",
        "a full disk is no error of the write",
        "ipfsfs/plain/ownership.py",
        "        if not self.root or uid == 0:\n            return os.pwrite(fd, data, offset)\n",
        "        if not self.root or uid == 0:\n            try:\n                return os.pwrite(fd, data, offset)\n"
        "            except OSError:\n                return len(data)\n",
        (f"{KERNEL}test_h10_a_full_disk_is_said_by_the_write_that_finds_it_full",),
    ),
    Mutant(
        "S12",
        "nothing is sealed when its last writer has gone",
        "ipfsfs/view/upkeep/upkeep.py",
        '        """A file that was written is open for writing no longer."""\n        self.sealing.changed(node)\n',
        '        """A file that was written is open for writing no longer."""\n',
        (f"{SEMANTICS}test_a_file_gets_its_cid_soon_after_its_last_writer_has_gone",),
    ),
    Mutant(
        "S12",
        "a new ctime costs the seal",
        "ipfsfs/store/seals.py",
        "        if seal is None or after.st_ctime_ns == before.st_ctime_ns:\n            return\n",
        "        return\n",
        ("tests/mount/test_seals_kept.py::test_it_stays_sealed",),
    ),
    Mutant(
        "S12",
        "secrets are known by their names only",
        "ipfsfs/caches/secret.py",
        "    return _SECRET.search(data) is not None\n",
        "    return False\n",
        (f"{CONTENT}test_h36_nothing_of_a_secret_is_in_the_store_or_the_log",),
    ),
    Mutant(
        "S12",
        "scratch is sealed",
        "ipfsfs/caches/huggingface.py",
        "        if id(self) in _ALL_SCRATCH or _SCRATCH.fullmatch(name):\n",
        "        if id(self) in _ALL_SCRATCH:\n",
        ("tests/unit/test_classify.py::test_h24_h36_kind_of_a_path_at_every_mount",),
    ),
    Mutant(
        "S12",
        "files on other filesystems are sealed",
        "ipfsfs/workers/sealer/jobs.py",
        "        if st.st_dev != root.dev:\n",
        "        if False:\n",
        ("tests/workers/test_sealing.py::test_a_file_on_another_filesystem_is_not_sealed",),
    ),
    Mutant(
        "S13",
        "checksums are computed and not compared",
        "ipfsfs/view/resident/units.py",
        "        if digest(data[at : min(at + UNIT, sealed)]) != sums[unit]:\n",
        "        if digest(data[at : min(at + UNIT, sealed)]) is None:\n",
        (f"{ROT}test_never_a_wrong_byte_and_the_rest_is_readable",),
    ),
    Mutant(
        "S13",
        "the last unit of a file is not checked",
        "ipfsfs/view/resident/units.py",
        "    for at in range(0, sealed, UNIT):\n",
        "    for at in range(0, sealed - UNIT + 1, UNIT):\n",
        (f"{ROT}test_the_edges_of_rot",),
    ),
    Mutant(
        "S13",
        "threads serve what they read without comparing it",
        "ipfsfs/view/resident/read_job.py",
        "        if units.first_bad(data, start, self.sums, self.seal) >= 0:\n",
        "        if units.first_bad(data, start, None, self.seal) >= 0:\n",
        (f"{ROT}test_never_a_wrong_byte_and_the_rest_is_readable",),
    ),
    Mutant(
        "S13",
        "what a thread finds rotten is served as the end of the file",
        "ipfsfs/fuse/reading_threads.py",
        '        self._reply(unique, -errno_of(error, "read"), b"")\n',
        '        self._reply(unique, 0, b"")\n',
        (f"{ROT}test_never_a_wrong_byte_and_the_rest_is_readable",),
    ),
    Mutant(
        "S13",
        "files that were open before they were sealed are not checked",
        "ipfsfs/view/upkeep/entering.py",
        "            file.attach(seal)\n",
        "            file.attach(None)\n",
        (f"{ROT}test_rot_is_found_by_who_opened_a_file_before_it_was_sealed",),
    ),
    Mutant(
        "S85",
        "what Btrfs shows to anybody is all that is asked of a file there",
        "ipfsfs/plain/checked.py",
        "                    return btrfs_why_not(flags, _btrfs_inode_flags(fd, st.st_ino))\n",
        "                    return btrfs_why_not(flags, 0)\n",
        (f"{CHECKED}test_what_is_called_checked_on_btrfs_is_and_nothing_else",),
    ),
    Mutant(
        "S85",
        "only what is on the disk of a file's flags counts on Btrfs",
        "ipfsfs/plain/checked.py",
        "                    return btrfs_why_not(flags, _btrfs_inode_flags(fd, st.st_ino))\n",
        "                    return btrfs_why_not(0, _btrfs_inode_flags(fd, st.st_ino))\n",
        (f"{CHECKED}test_flags_that_are_not_on_the_disk_yet_count",),
    ),
    Mutant(
        "S14",
        "every seal can tell rot from change",
        "ipfsfs/store/seal.py",
        "        return self.leased and (self.settled or boot == self.boot)\n",
        "        return True\n",
        (f"{ROT}test_h16_only_a_seal_that_can_tell_calls_it_rot",),
    ),
    Mutant(
        "S14",
        "what was changed beneath is rot",
        "ipfsfs/view/resident/reading.py",
        "        agrees = seal.identity.agrees(content.stat(fd))\n",
        "        agrees = True\n",
        (
            "tests/faults/test_beneath.py::test_h22_what_is_changed_beneath_is_served_as_it_is_and_sealed_again",
            f"{ROT}test_h16_only_a_seal_that_can_tell_calls_it_rot",
        ),
    ),
    Mutant(
        "S15",
        "leaves are half as long",
        "ipfsfs/unixfs/chunk.py",
        "LEAF_MAX = 1 << 20\n",
        "LEAF_MAX = 1 << 19\n",
        ("tests/vectors/test_vectors.py::test_a_file_on_disk_is_cut_and_named_as_the_profile_says",),
    ),
    Mutant(
        "S15",
        "scratch counts among what is in a directory",
        "ipfsfs/exchange/trees.py",
        "                elif not place.classify(name).is_sealed or",
        '                elif place.classify(name).kind.value == "secret" or',
        LEFT_OUT,
    ),
    Mutant(
        "S16",
        "a download is not held to its name",
        "ipfsfs/view/upkeep/upkeep.py",
        "        await self.promises.check(parent, name, st, new_parent, new_name)\n",
        "",
        (f"{CONTENT}test_h23_what_breaks_its_promise_is_gone_before_the_rename_fails",),
    ),
    Mutant(
        "S16",
        "64 digits promise something anywhere",
        "ipfsfs/caches/huggingface.py",
        "        if self is HubPlace.BLOBS and _SHA256.fullmatch(name):\n            return Name(Kind.PROMISE",
        "        if _SHA256.fullmatch(name):\n            return Name(Kind.PROMISE",
        (f"{CONTENT}test_h24_what_only_looks_like_a_promise_is_none",),
    ),
    Mutant(
        "S16",
        "a link or an exchange gives any file a promised name",
        "ipfsfs/view/upkeep/upkeep.py",
        "        await self.promises.named(parent, name, fd)\n",
        "",
        ("tests/faults/test_promises.py::test_what_gets_a_promised_name_by_a_link_or_an_exchange_loses_it",),
    ),
    Mutant(
        "S17",
        "what a blob was is not kept",
        "ipfsfs/view/upkeep/upkeep.py",
        "        if not self.promises.keeps_promise(node, seal):\n",
        "        if self.promises.keeps_promise(node, seal):\n",
        (f"{SEMANTICS}test_what_a_blob_was_before_it_was_written_in_place_is_kept_and_who_did_it_is_named",),
    ),
    Mutant(
        "S17",
        "nobody is named",
        "ipfsfs/view/upkeep/promises.py",
        '    return f"{_command(pid)} (process {pid})"\n',
        '    return "a program"\n',
        (f"{SEMANTICS}test_what_a_blob_was_before_it_was_written_in_place_is_kept_and_who_did_it_is_named",),
    ),
    Mutant(
        "S17",
        "status exits with 0 whatever is wrong with files",
        "ipfsfs/cli/standing.py",
        "            return tuple(troubles(found.answer))\n",
        "            return ()\n",
        (f"{ANSWERS}test_a_broken_promise_has_status_exit_with_1_and_says_the_way_out_until_it_is_taken",),
    ),
    Mutant(
        "S17",
        "names that are not in the quarantine are removed",
        "ipfsfs/exchange/kept_aside.py",
        "    if unknown:\n",
        "    if unknown and not remove:\n",
        (f"{ANSWERS}test_good_bytes_in_quarantine_come_back_to_a_name_that_is_gone_and_can_be_removed",),
    ),
    Mutant(
        "S17",
        "what a name does not promise is said to be put back by restore",
        "ipfsfs/exchange/kept_aside.py",
        '    way: Way = "copy"\n',
        '    way: Way = "restore"\n',
        (f"{ANSWERS}test_what_a_path_in_quarantine_does_not_promise_can_be_copied_and_removed",),
    ),
    Mutant(
        "S18",
        "a failed index is not said",
        "ipfsfs/store/seals.py",
        "            self.degraded = str(error)\n",
        '            self.degraded = ""\n',
        (f"{INDEX}test_the_index_is_spoiled_while_mounted",),
    ),
    Mutant(
        "S18",
        "a damaged ledger is thrown away without a word",
        "ipfsfs/store/recovery.py",
        "    return Ledger.open(store.ledger_file)\n",
        "    try:\n        return Ledger.open(store.ledger_file)\n"
        "    except StoreError:\n        return rebuild_ledger(store)\n",
        (f"{INDEX}test_a_damaged_ledger_is_refused_with_words_and_mended_by_fsck",),
    ),
    Mutant(
        "S19",
        "the mark is written after the data",
        "ipfsfs/view/resident/writing.py",
        "        await self.breaker.before_change(file, opener.pid)\n        self._wary = max(0, self._wary - 1)\n"
        "        while True:\n            try:\n"
        "                written = await self._pwrite(fd, opener, offset, data)\n",
        "        self._wary = max(0, self._wary - 1)\n        while True:\n            try:\n"
        "                written = await self._pwrite(fd, opener, offset, data)\n"
        "                await self.breaker.before_change(file, opener.pid)\n",
        (f"{DURABILITY}{MARKED}",),
    ),
    Mutant(
        "S19",
        "a mark waits for the next checkpoint",
        "ipfsfs/store/database.py",
        '        connection = connect(file, synchronous="FULL", busy_ms=busy_ms)\n',
        '        connection = connect(file, synchronous="OFF", busy_ms=busy_ms)\n',
        ("tests/store/test_recovery.py::test_h17_the_power_goes_right_after_a_mark_and_the_mark_is_there",),
    ),
    Mutant(
        "S19",
        "an append takes the seal away and leaves no mark",
        "ipfsfs/store/seals.py",
        "        if self.index is not None and seal.needs_mark:\n            try:\n",
        "        if self.index is None:\n            try:\n",
        (
            "tests/mount/test_seals_kept.py::"
            "test_h17_whatever_dropped_the_seal_it_is_marked_on_disk_before_sealed_bytes_change",
        ),
    ),
)
