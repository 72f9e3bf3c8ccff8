"""Mutants of blobs that other machines have."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Mutant

_APPEARING: Final = "ipfsfs/view/placeholder/appearing.py"
_TESTS: Final = "tests/mount/site/test_appearing.py::test_"
_MOVED: Final = "tests/mount/site/test_moved_away.py::test_"
_SECOND: Final = f"{_TESTS}the_second_machine_downloads_nothing_that_the_first_has"

MUTANTS: Final[tuple[Mutant, ...]] = (
    Mutant(
        "S70",
        "nothing appears",
        _APPEARING,
        "        if found is None or not self._may_be(parent, path, promise, caller):\n",
        "        if found is None or promise:\n",
        (_SECOND,),
    ),
    Mutant(
        "S70",
        "a lease ends with the download, and not when the blob is announced",
        "ipfsfs/view/upkeep/upkeep.py",
        "                self.site.named(promise, st.st_size, self.nodes.path_of(parent, name))\n",
        "                self.site.over(promise)\n",
        (f"{_TESTS}machines_that_start_at_once_download_once",),
    ),
    Mutant(
        "S71",
        "what was removed comes back",
        "ipfsfs/view/upkeep/upkeep.py",
        "                self.site.removed(promise)\n",
        "                pass\n",
        (f"{_TESTS}h50_what_is_removed_stays_removed_and_can_be_downloaded",),
    ),
    Mutant(
        "S71",
        "a blob appears while it is downloaded",
        _APPEARING,
        "            or self.site.is_downloaded(promise)\n",
        "",
        (f"{_TESTS}h50_while_a_download_is_under_way_nothing_appears",),
    ),
    Mutant(
        "S71",
        "a blob appears that the clients' own store has",
        _APPEARING,
        "            or self._is_in_xet_store(path, promise)\n",
        "",
        (f"{_TESTS}h49_what_came_by_xet_is_linked_to_by_the_client_itself",),
    ),
    Mutant(
        "S72",
        "what cannot be had stays there",
        "ipfsfs/view/placeholder/serving.py",
        "            if isinstance(error, NotHere) and said_by_link is not None:\n",
        "            if isinstance(error, NotHere) and said_by_link is None:\n",
        (f"{_TESTS}h40_a_machine_that_dies_after_the_lookup_costs_a_download",),
    ),
    Mutant(
        "S72",
        "a LOOKUP waits for others as long as they take",
        "ipfsfs/exchange/site.py",
        "LOOKUP_S: Final = 0.02\n",
        "LOOKUP_S: Final = 2.0\n",
        (f"{_TESTS}h44_a_lookup_waits_a_moment_and_other_calls_in_the_directory_go_on",),
    ),
    Mutant(
        "S73",
        "what another machine said is served before it is proven",
        "ipfsfs/view/placeholder/content.py",
        "        self._may_serve = not self.reference.is_by_name\n",
        "        self._may_serve = True\n",
        (f"{_TESTS}h52_a_pickle_is_served_to_nobody_before_it_is_proven",),
    ),
    Mutant(
        "S73",
        "what nothing proves is given out where it was moved to",
        "ipfsfs/view/placeholder/taking_back.py",
        "        if said.is_by_name and self._promise(node) is None:\n",
        '        if said.is_by_name and self._promise(node) == b"":\n',
        (f"{_MOVED}h52_what_is_not_proven_is_not_so_at_a_place_that_promises_nothing",),
    ),
    Mutant(
        "S71",
        "what was moved away comes back",
        "ipfsfs/view/renames.py",
        "source.kind.promise != target.kind.promise and",
        "source.kind.promise == target.kind.promise and",
        (f"{_MOVED}h50_what_is_moved_away_does_not_come_back_by_itself",),
    ),
    Mutant(
        "S70",
        "what moves into the shared store counts as removed",
        "ipfsfs/view/renames.py",
        " and not self._is_shared(target)",
        "",
        (f"{_MOVED}h49_what_comes_by_xet_is_waited_for_until_others_can_have_it",),
    ),
    Mutant(
        "S72",
        "a LOOKUP fails where no placeholder can be made",
        _APPEARING,
        "        except OSError as error:  # no room, or a read-only disk: to look at a name never fails for that\n",
        "        except NotADirectoryError as error:\n",
        (f"{_MOVED}to_look_at_a_name_does_not_fail_where_nothing_can_be_made",),
    ),
    Mutant(
        "S73",
        "one name of a format without code is enough",
        "ipfsfs/view/placeholder/proof.py",
        "        if len(suffixes) != 1 or not suffixes <= set(_WITHOUT_CODE):\n",
        "        if not suffixes & set(_WITHOUT_CODE):\n",
        (f"{_TESTS}h52_one_name_of_a_format_with_code_is_enough_to_wait_for_the_proof",),
    ),
)
