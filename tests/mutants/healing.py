"""Mutants of the promises on healing: S41 to S44."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Mutant

HEALING: Final = "tests/mount/test_healing.py::"

MUTANTS: Final[tuple[Mutant, ...]] = (
    Mutant(
        "S41",
        "what lies in the quarantine is not used",
        "ipfsfs/exchange/heal.py",
        'item.note.get("actual_sha256") == damaged.digest:\n',
        'item.note.get("actual_sha256") is damaged:\n',
        (f"{HEALING}test_one_command_puts_back_what_a_tool_wrote_over",),
    ),
    Mutant(
        "S41",
        "verify passes over what is missing",
        "ipfsfs/daemon/questions/verify.py",
        "for one in whereabouts.missing(root_fd, path)]",
        "for one in whereabouts.missing(root_fd, path) if not one.path]",
        (f"{HEALING}test_what_is_missing_is_named_by_all_who_look",),
    ),
    Mutant(
        "S42",
        "what the Hub gives is put in place as it is",
        "ipfsfs/workers/fetcher/sought.py",
        "if self.digest in found else None",
        "if self.digest or found else None",
        (f"{HEALING}test_what_the_hub_gives_is_compared_before_it_is_put_in_place",),
    ),
    Mutant(
        "S43",
        "a file that a program writes is replaced",
        "ipfsfs/plain/replacing.py",
        "return lease.writers_of(own) is not Writers.SOME",
        "return lease.writers_of(own) is not None",
        (f"{HEALING}test_h18_what_a_program_writes_is_not_replaced",),
    ),
    Mutant(
        "S43",
        "other names of a file that rotted keep it",
        "ipfsfs/view/upkeep/healing.py",
        "if others > 0 else []",
        "if others > 99 else []",
        ("tests/faults/test_rot_healed.py::test_all_names_of_a_file_that_rotted_have_the_healed_one",),
    ),
    Mutant(
        "S61",
        "what the disk cannot read is passed over",
        "ipfsfs/exchange/verify.py",
        "    return isinstance(outcome, Verified) and outcome.unreadable\n",
        "    return isinstance(outcome, Failed)\n",
        ("tests/faults/test_unreadable.py",),
    ),
    Mutant(
        "S44",
        "the token goes wherever the Hub sends to",
        "ipfsfs/origins/hub_files.py",
        "key = scheme, host, port, is_hub and with_token",
        "key = scheme, host, port, (is_hub or with_token) and with_token",
        ("tests/origins/test_hub_files.py",),
    ),
    Mutant(
        "S44",
        "the Hub is not asked for what is read",
        "ipfsfs/exchange/having.py",
        "            if load.on_hub is None:\n",
        "            if load.on_hub:\n",
        ("tests/mount/placeholders/test_hub.py::test_what_no_node_has_any_more_comes_from_the_hub",),
    ),
)
