"""Mutants of the promises on what other machines are given: S64 to S66."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Mutant

_GATEWAY: Final = "tests/workers/server/test_gateway.py::"
_ADMISSION: Final = "tests/workers/server/test_admission.py::"
_CLIENTS: Final = "tests/workers/server/test_hostile_clients.py::"
_SERVING: Final = "tests/mount/site/test_serving.py::"
_BLOCKS: Final = "ipfsfs/workers/server/blocks.py"

MUTANTS: Final[tuple[Mutant, ...]] = (
    Mutant(
        "S64",
        "a block goes out as the file has it by now",
        _BLOCKS,
        "            if data is not None and sha256(data).digest() == digest:\n",
        "            if data is not None:\n",
        (f"{_GATEWAY}test_h47_other_bytes_never_go_out",),
    ),
    Mutant(
        "S64",
        "the nodes of a file are given when the file is gone",
        _BLOCKS,
        "        return self._read(found.offered.offer, lambda _: _node(digest, found))\n",
        "        return _node(digest, found)\n",
        (f"{_GATEWAY}test_h40_the_root_of_a_file_that_is_gone_is_not_here",),
    ),
    Mutant(
        "S64",
        "leaves behind the first are sent as they are read",
        _BLOCKS,
        "            if sha256(view[end : end + length]).digest() != digest:\n",
        "            if not good and sha256(view[end : end + length]).digest() != digest:\n",
        (f"{_GATEWAY}test_h47_a_run_ends_before_other_bytes",),
    ),
    Mutant(
        "S64",
        "a CAR that lacks a block ends as one that is whole",
        "ipfsfs/workers/server/connection.py",
        "        except Incomplete:\n            raise trio.BrokenResourceError from None\n",
        "        except Incomplete:\n            return\n",
        (f"{_GATEWAY}test_a_car_that_cannot_be_whole_ends_before_its_end",),
    ),
    Mutant(
        "S64",
        "a server that is started again offers nothing",
        "ipfsfs/exchange/offers.py",
        "                if known.offered is not None:\n                    await self._offer(known)\n            for",
        "                if known.offered is not None:\n                    known.again = 0.0\n            for",
        (f"{_SERVING}test_h48_the_server_is_started_again_with_its_offers",),
    ),
    Mutant(
        "S65",
        "everyone gets what is private",
        _BLOCKS,
        "if _is_public(one) or not only_public]",
        "]",
        (
            f"{_ADMISSION}test_opened_it_gives_anyone_what_is_public_and_hides_the_rest",
            f"{_ADMISSION}test_without_a_token_all_are_alike_and_nothing_private_is_given",
        ),
    ),
    Mutant(
        "S65",
        "whoever asks without a signature is let in",
        "ipfsfs/workers/server/admission.py",
        "        if not value and self.is_open:\n",
        "        if not value:\n",
        (f"{_ADMISSION}test_with_a_token_only_machines_of_the_site_are_let_in",),
    ),
    Mutant(
        "S65",
        "what the Hub gives to nobody unasked is offered",
        "ipfsfs/exchange/offers.py",
        '        if self.share == "all" or known.public:\n',
        '        if self.share == "all" or known.public is not None:\n',
        (f"{_SERVING}test_a_public_blob_is_served_and_a_private_one_is_not",),
    ),
    Mutant(
        "S65",
        "what was offered while it was loaded is offered for ever",
        "ipfsfs/exchange/offers.py",
        "                self._withdraw(known.key)  # it may have been offered while",
        "                pass  # it may have been offered while",
        (f"{_SERVING}test_h38_what_becomes_private_while_it_is_loaded_is_served_no_more",),
    ),
    Mutant(
        "S65",
        "the Hub is asked once whether it gives a blob to anyone",
        "ipfsfs/exchange/offers.py",
        "(_UNKNOWN_AGAIN_S if known.public is None else ASKED_AGAIN_S)",
        "(_UNKNOWN_AGAIN_S if known.public is None else math.inf)",
        (f"{_SERVING}test_the_hub_is_asked_each_day_whether_it_gives_a_blob_to_anyone",),
    ),
    Mutant(
        "S65",
        "what is public no longer stays offered",
        "ipfsfs/exchange/offers.py",
        "                known.offered = None\n                self._offer_another(known.key)\n",
        "                known.offered = None\n",
        (f"{_SERVING}test_the_hub_is_asked_each_day_whether_it_gives_a_blob_to_anyone",),
    ),
    Mutant(
        "S65",
        "an address of the network is served to anyone though nobody said so",
        "ipfsfs/daemon/serving.py",
        "        if not site.token() and not site.open and not is_loopback:\n",
        "        if not site.token() and not site.open and not is_loopback and not at.port:\n",
        (f"{_SERVING}test_words_where_it_cannot_be_served",),
    ),
    Mutant(
        "S65",
        "a cache may keep what only the site may have",
        "ipfsfs/workers/server/gateway.py",
        "for_anyone=block.public and not caller.is_signed)",
        "for_anyone=True)",
        (f"{_ADMISSION}test_a_cache_in_front_keeps_nothing_that_only_the_site_may_have",),
    ),
    Mutant(
        "S66",
        "a client may take for ever to ask",
        "ipfsfs/workers/server/connection.py",
        "                    scope.deadline = trio.current_time() + REQUEST_S\n",
        "                    scope.deadline = trio.current_time() + 100 * REQUEST_S\n",
        (f"{_CLIENTS}test_who_writes_slowly_is_cut_off",),
    ),
    Mutant(
        "S66",
        "one address may have all places",
        "ipfsfs/workers/server/doors.py",
        "if self._by_host[host] >= BY_ADDRESS or not self._has_room():",
        "if not self._has_room():",
        (f"{_CLIENTS}test_many_connections_from_one_address",),
    ),
    Mutant(
        "S66",
        "a body may be as long as it likes",
        "ipfsfs/workers/server/connection.py",
        "                if len(body) > most:\n",
        "                if len(body) > most << 20:\n",
        (f"{_CLIENTS}test_a_body_that_never_ends",),
    ),
    Mutant(
        "S66",
        "the address stays taken after an unmount",
        "ipfsfs/workers/server/client.py",
        "            await self._process.run()\n        finally:\n            self.close()\n",
        "            await self._process.run()\n        finally:\n            self._talk.wake()\n",
        (f"{_SERVING}test_the_address_is_free_while_files_are_still_open",),
    ),
)
