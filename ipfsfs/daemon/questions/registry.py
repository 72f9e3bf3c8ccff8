"""All questions, by the name of their command. A new one is a module beside this and a line here."""

from __future__ import annotations

from typing import Any, Final

from ipfsfs.daemon.questions import (
    cid,
    collect,
    dedup,
    discard,
    evict,
    find,
    heal,
    leaves,
    metrics,
    mounted_with,
    overview,
    peers,
    pin_add,
    pin_ls,
    pin_rm,
    prefetch,
    published,
    quarantine,
    seal,
    status,
    umount,
    upstream,
    verify,
    why,
)
from ipfsfs.daemon.questions.question import Asked

QUESTIONS: Final[dict[str, type[Asked[Any, Any]]]] = {
    question.command: question
    for question in (
        mounted_with.Question,
        status.Question,
        seal.Question,
        verify.Question,
        heal.Question,
        why.Question,
        overview.Question,
        cid.Question,
        prefetch.Question,
        published.Question,
        quarantine.Question,
        evict.Question,
        metrics.Question,
        find.Question,
        leaves.Question,
        collect.Question,
        discard.Question,
        umount.Question,
        dedup.Question,
        pin_add.Question,
        pin_ls.Question,
        pin_rm.Question,
        upstream.Question,
        peers.Question,
    )
}
