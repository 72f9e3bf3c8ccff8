"""Mutants of views that a group shares."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Mutant

_TEAM: Final = "ipfsfs/view/team.py"
_MAKING: Final = "ipfsfs/view/making.py"
_RIGHTS: Final = "tests/mount/test_team.py::test_what_one_makes_all_can_use_update_and_remove_whatever_umask_and_chmod"
_SECRETS: Final = "tests/mount/test_team_secrets.py::test_a_secret_is_its_owners_and_for_others_it_is_not_there"
_AT_ONCE: Final = "tests/mount/test_team_secrets.py::test_lookups_at_the_same_time_get_each_their_own_answer"
_ADOPTING: Final = "tests/mount/test_team_adopting.py"

MUTANTS: Final[tuple[Mutant, ...]] = (
    Mutant(
        "S76",
        "the umask of a member takes the rights of the group",
        _TEAM,
        "        return mode & 0o7000 | owner | owner >> 3 | others & 0o007\n",
        "        return mode & 0o7000 | owner | asked & 0o070 | others & 0o007\n",
        (_RIGHTS,),
    ),
    Mutant(
        "S76",
        "a chmod takes the rights of the group",
        _TEAM,
        "            mode = self.file_mode(mode)\n",
        "            pass\n",
        (_RIGHTS,),
    ),
    Mutant(
        "S76",
        "what is copied in with its group stays of that group",
        _TEAM,
        "            gid = self.gid\n",
        "            pass\n",
        ("tests/mount/test_team.py::test_a_tree_that_is_copied_in_with_all_it_has_fits",),
    ),
    Mutant(
        "S76",
        "an ACL that says no more than a mode takes the rights of the group",
        "ipfsfs/view/resident/xattrs.py",
        "        if wanted is not None and wanted != mode:\n",
        "        if wanted is None and wanted != mode:\n",
        ("tests/mount/test_team.py::test_a_tree_that_is_copied_in_with_all_it_has_fits",),
    ),
    Mutant(
        "S76",
        "a directory of another group passes that on",
        _MAKING,
        "                held.chown(fd, -1, self.team.gid)\n",
        "                held.chown(fd, -1, -1)\n",
        ("tests/mount/test_team.py::test_what_is_made_in_a_directory_of_another_group_is_the_teams",),
    ),
    Mutant(
        "S76",
        "others get what the umask of the maker gives them",
        _TEAM,
        "        others = owner >> 6 & directory & ~_WRITE | asked & directory & _WRITE\n",
        "        others = asked\n",
        ("tests/mount/test_team.py::test_others_get_what_the_directory_gives_them_and_no_more",),
    ),
    Mutant(
        "S76",
        "what was attached is hydrated with the mode that its reference has",
        "ipfsfs/view/placeholder/hydrating.py",
        "            found = replace(found, mode=self.team.file_mode(found.mode))\n",
        "            found = replace(found, mode=found.mode)\n",
        ("tests/mount/test_team.py::test_what_is_not_here_is_the_teams_too_and_when_it_comes",),
    ),
    Mutant(
        "S77",
        "the kernel keeps the entry of a secret for all users",
        "ipfsfs/view/names.py",
        "            self.team.is_secret(self.nodes.place(parent), name, st.st_mode) or ",
        '            name == b"/" or ',
        (_SECRETS, _AT_ONCE),
    ),
    Mutant(
        "S77",
        "the kernel keeps for all users that a secret is not there",
        "ipfsfs/view/names.py",
        "            return 0.0\n        return SHORT_S\n",
        "            return SHORT_S\n        return SHORT_S\n",
        (_SECRETS, _AT_ONCE),
    ),
    Mutant(
        "S77",
        "the kernel keeps one listing with secrets for all users",
        "ipfsfs/view/listings.py",
        "        if keep and self.team is not None and self._depends_on_user(listing.node, found):\n",
        "        if keep and self.team is None and self._depends_on_user(listing.node, found):\n",
        (_SECRETS, _AT_ONCE),
    ),
    Mutant(
        "S77",
        "a file that others may write becomes a secret of its owner",
        _TEAM,
        '        if self.hides(place, name, st, caller.uid):\n            self._refuse(name, caller, f"the file',
        '        if caller.uid < 0:\n            self._refuse(name, caller, f"the file',
        ("tests/mount/test_team_secrets.py::test_no_member_makes_a_secret_for_another",),
    ),
    Mutant(
        "S77",
        "a file keeps the rights of the group when it becomes a secret",
        _TEAM,
        "        held.chmod(fd, stat_.S_IMODE(st.st_mode) & ~0o077)\n        return True\n",
        "        return True\n",
        ("tests/mount/test_team_secrets.py::test_what_gets_a_secrets_name_loses_the_rights_of_the_group",),
    ),
    Mutant(
        "S77",
        "what becomes a secret takes along what the kernel was told of it",
        "ipfsfs/view/renames.py",
        "        if becomes_one and not is_one:\n",
        "        if becomes_one and is_one:\n",
        ("tests/mount/test_team_secrets.py::test_what_becomes_a_secret_is_so_at_once",),
    ),
    Mutant(
        "S78",
        "secrets are given to the group as well",
        "ipfsfs/plain/adopting.py",
        "    return not stat.S_ISDIR(st.st_mode) and place.classify(name).kind is Kind.SECRET\n",
        "    return stat.S_ISDIR(st.st_mode) and place.classify(name).kind is Kind.SECRET\n",
        (f"{_ADOPTING}::test_what_does_not_fit_is_named_and_stays_until_it_is_adopted",),
    ),
    Mutant(
        "S78",
        "what does not fit is mended unasked",
        "ipfsfs/plain/adopting.py",
        "    if not mend:\n",
        "    if found is None:\n",
        (f"{_ADOPTING}::test_what_does_not_fit_is_named_and_stays_until_it_is_adopted",),
    ),
    Mutant(
        "S79",
        "what was made beneath is opened with the rights of the daemon",
        "ipfsfs/view/view.py",
        "            if caller.uid not in (0, os.geteuid()):\n",
        "            if caller.uid < 0:\n",
        ("tests/mount/test_users.py::test_what_was_made_beneath_a_moment_ago_is_opened_with_the_callers_rights",),
    ),
)
