"""Mutants of the promises on pins: S35 to S37."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Mutant

_PINS: Final = "tests/mount/pins/test_pins.py"
_MEETING: Final = "tests/mount/pins/test_meeting.py"
_ELSEWHERE: Final = "tests/mount/pins/test_elsewhere.py"
_HOSTILE: Final = "tests/origins/test_hostile_keepers.py"
_KEEPING: Final = "ipfsfs/exchange/keeping.py"

MUTANTS: Final[tuple[Mutant, ...]] = (
    Mutant(
        "S35",
        "what a pin holds is not used",
        _KEEPING,
        "        if not self.pins.holds(file.root) or self.kept.stat(file) is None or",
        "        if self.pins.holds(file.root) or self.kept.stat(file) is None or",
        (_PINS,),
    ),
    Mutant(
        "S35",
        "an overwrite in place goes through to what a pin holds",
        _KEEPING,
        "            if (file := self._second_names.get(ino)) is not None:\n",
        "            if (file := self._second_names.get(-ino)) is not None:\n",
        (_PINS,),
    ),
    Mutant(
        "S35",
        "a pin goes on with a file that rotted and was replaced",
        "ipfsfs/view/upkeep/healing.py",
        "            if damaged.seal is not None:  # else",
        "            if damaged.seal is None:  # else",
        ("tests/faults/test_rot_healed.py::test_a_pin_has_the_healed_bytes_of_a_file_that_it_shares",),
    ),
    Mutant(
        "S35",
        "what a pin holds is changed with a file that has no seal",
        "ipfsfs/view/resident/breaking.py",
        "        is_free = file.seal is None and file.breaking is None\n"
        "        return is_free and not self.keeping.has_second_name(file.node.dev, file.node.ino)\n",
        "        return file.seal is None and file.breaking is None\n",
        (_MEETING,),
    ),
    Mutant(
        "S35",
        "the name in the store is shown as a link",
        "ipfsfs/view/resident/resident.py",
        "nlink=st.st_nlink - 1)",
        "nlink=st.st_nlink)",
        (_PINS,),
    ),
    Mutant(
        "S36",
        "a pin counts as complete once it is known",
        "ipfsfs/exchange/pins.py",
        '        complete=pin.state == "pinned" and len(here) == len(files),\n',
        "        complete=len(here) <= len(files),\n",
        (f"{_PINS}::test_what_cannot_be_had_fails_names_the_block_and_goes_on_later",),
    ),
    Mutant(
        "S36",
        "what is kept already is not read again",
        "ipfsfs/view/placeholder/pinning.py",
        "            return not file.size\n        why = await fault",
        '            return not file.size\n        why = "" and await fault',
        ("tests/faults/test_rot_of_the_store.py::test_a_pin_that_rotted_is_had_again_when_it_is_pinned_again",),
    ),
    Mutant(
        "S60",
        "what pins hold is not read",
        "ipfsfs/exchange/kept_files.py",
        "    found: set[PinnedFile] = set()\n    for pin in pins.all():\n",
        "    found: set[PinnedFile] = set()\n    for pin in pins.all()[:0]:\n",
        ("tests/faults/test_rot_of_the_store.py",),
    ),
    Mutant(
        "S37",
        "a pin that failed is waited for no longer, and called made",
        "ipfsfs/cli/pin_elsewhere.py",
        '        if pin.state == "failed":\n',
        '        if pin.state == "queued":\n',
        (_ELSEWHERE,),
    ),
    Mutant(
        "S37",
        "what a server says is shown with the secret in it",
        "ipfsfs/origins/said.py",
        "        parts[number] = _HIDDEN + part[sum(",
        "        parts[number] = begin + part[0 * sum(",
        (_HOSTILE,),
    ),
)
