"""Mutants of the promises on what goes beyond a site: S80 to S82."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Mutant

_UPSTREAM: Final = "ipfsfs/exchange/upstream.py"
_CACHE: Final = "ipfsfs/caches/huggingface.py"
_ROUTING: Final = "ipfsfs/origins/routing.py"
_HOLDERS: Final = "ipfsfs/origins/holders.py"
_TESTS: Final = "tests/mount/placeholders/"
_ROUTING_TESTS: Final = "tests/origins/test_routing.py"

MUTANTS: Final[tuple[Mutant, ...]] = (
    Mutant(
        "S80",
        "what was removed here comes back",
        _UPSTREAM,
        "            if not is_there and digest in known:\n",
        "            if not is_there and digest in seen:\n",
        (f"{_TESTS}test_upstream.py",),
    ),
    Mutant(
        "S80",
        "code is filled in",
        _CACHE,
        """ and not name.startswith(b".") and not _RUN.fullmatch(name)\n""",
        """ and not name.startswith(b".")\n""",
        (f"{_TESTS}test_upstream.py",),
    ),
    Mutant(
        "S80",
        "a small file of a repository is made, whatever it holds",
        _UPSTREAM,
        "        if want.is_compared and name not in",
        "        if not want.is_compared and name not in",
        (f"{_TESTS}test_upstream.py",),
    ),
    Mutant(
        "S80",
        "a link may lead anywhere in the tree",
        _UPSTREAM,
        '            if target in blobs and repositories[target.rpartition(b"/")[0]] == repositories[above]:\n',
        "            if True:\n",
        (f"{_TESTS}test_upstream.py",),
    ),
    Mutant(
        "S81",
        "the node is sent all of the tree",
        "ipfsfs/exchange/publish.py",
        "        await self._work(root, iter([[root]]))\n",
        "        await self.run(root)\n",
        (f"{_TESTS}test_publish_serve.py",),
    ),
    Mutant(
        "S81",
        "what is published no more is served",
        "ipfsfs/exchange/published_offers.py",
        "                self.offers.withdraw(key)\n",
        "                pass\n",
        (f"{_TESTS}test_publish_serve.py",),
    ),
    Mutant(
        "S82",
        "a router elsewhere names addresses of this network",
        _HOLDERS,
        "        return at.is_global or (self is Reach.ANYWHERE and ",
        "        return at.is_global or (True and ",
        (_ROUTING_TESTS,),
    ),
    Mutant(
        "S82",
        "a router is asked for each block that nobody has",
        _ROUTING,
        "            if now < self._not_before:\n",
        "            if now < -1:\n",
        (_ROUTING_TESTS,),
    ),
    Mutant(
        "S82",
        "blocks of holders are not compared",
        _ROUTING,
        "Paused(Checked(Gateway(client)), _HOLDER_S)",
        "Paused(Gateway(client), _HOLDER_S)",
        (_ROUTING_TESTS,),
    ),
    Mutant(
        "S82",
        "by which root a tree was attached is forgotten with the mount",
        "ipfsfs/daemon/lifecycle.py",
        "            for root in ledger.announced.all():\n",
        "            for root in ledger.announced.all()[:0]:\n",
        (
            "tests/mount/placeholders/test_publish_serve.py"
            "::test_what_was_attached_is_found_by_its_root_in_the_next_mount",
        ),
    ),
)
