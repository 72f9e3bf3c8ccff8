"""`ipfsfs restore`, and what `verify --heal` prints of the same."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import click

from ipfsfs.cli import bars, render, stored_blocks
from ipfsfs.cli.paths import PATH, Links, Target, must_be_ours, target
from ipfsfs.cli.scripts import Form, tell, tells
from ipfsfs.daemon import mounts
from ipfsfs.daemon.client import ask
from ipfsfs.daemon.questions.heal import Answer, Question
from ipfsfs.errors import IpfsfsError, MountError
from ipfsfs.exchange.heal import Healed, NotHealed
from ipfsfs.exchange.heal_kept import PinnedOutcome
from ipfsfs.exchange.imported_blocks import BlockOutcome
from ipfsfs.exchange.verify import Progress
from ipfsfs.printed import command, printable, shell

_REMOVE: Final = "Or remove it, and download it again: rm {}"


@dataclass(slots=True, frozen=True)
class Facts:
    """How many files and bytes were read; how many of the files had no seal to compare with. `left`: how much stays
    wrong, of what follows: files, by absolute paths, which were put back or not; what pins hold; imported blocks."""

    files: int
    bytes: int
    unsealed: int
    left: int
    healed: tuple[Healed, ...]
    not_healed: tuple[NotHealed, ...]
    pinned: tuple[PinnedOutcome, ...]
    blocks: tuple[BlockOutcome, ...]


@click.command(
    short_help="Put back what rotted, is missing or was overwritten.",
    epilog="Example: ipfsfs restore ~/.cache/huggingface/hub/models--org--name",
)
@click.argument("paths", type=PATH, nargs=-1, required=True)
@tells(Form(Facts))
def restore(paths: tuple[Path, ...], as_json: bool) -> None:
    """Read every file at and below each PATH, and have what is damaged or missing again.

    Damaged is what has other bytes than were sealed, or than its promised name says, or cannot be read from the disk;
    missing is a blob that a snapshot links to, or one that is named itself. A whole view includes what pins hold, and
    blocks that were imported. The content comes from the quarantine, from an origin by its CID, or from the Hub (see
    `ipfsfs mount`), is compared, and takes the place of the damaged file, which goes to the quarantine. Exit code 1 if
    anything could not be put back; each is named, with the reason. Run again, it goes on where it was.
    """
    answers: list[tuple[Target, Answer]] = []
    with bars.bar("Restoring") as bar:

        def show(progress: Progress) -> None:
            bar.update(files=progress.files, done_bytes=progress.bytes)

        for path in paths:
            at = _target(path)
            answers.append((at, heal(at, show)))
    facts = facts_of(answers, blocks([at for at, _ in answers], lambda progress: None))
    if as_json:
        tell(facts)
    else:
        say(facts)
    if facts.left:
        raise SystemExit(IpfsfsError.exit_code)


def _target(path: Path) -> Target:
    """The view that a path lies in. A link to a blob that is missing leads nowhere: the daemon follows it."""
    is_dangling = os.path.islink(path) and not os.path.exists(path)
    return target(path, Links.NAMED if is_dangling else Links.FOLLOWED)


def heal(at: Target, show: Callable[[Progress], None]) -> Answer:
    """Heal what is below a path. Raises MountError where it is in no mounted view of ours."""
    if at.mount is None:
        raise MountError(
            f"{at.root} is not mounted: its daemon knows what content is had from",
            hint=f"Mount it first: {command('mount', at.root)}",
        )
    must_be_ours(at.mount)
    mounts.answers(at.mount)
    return ask(at.store, Question((at.path,)), show)


def blocks(targets: Sequence[Target], show: Callable[[Progress], None]) -> list[BlockOutcome]:
    """What became of imported blocks that were damaged, in views that are looked at as a whole."""
    return [outcome for at in targets for outcome in stored_blocks.healed(at, show)]


def facts_of(answers: Sequence[tuple[Target, Answer]], blocks: Sequence[BlockOutcome]) -> Facts:
    """The answers of all that was asked, as one, with absolute paths."""
    pinned = tuple(one for _, answer in answers for one in answer.pinned)
    left = sum(len(answer.not_healed) for _, answer in answers)
    return Facts(
        files=sum(answer.files for _, answer in answers),
        bytes=sum(answer.bytes for _, answer in answers),
        unsealed=sum(answer.unsealed for _, answer in answers),
        left=left + sum(bool(one.why) for one in pinned) + sum(bool(one.why) for one in blocks),
        healed=tuple(
            replace(one, path=str(at.root / one.path), also=tuple(str(at.root / other) for other in one.also))
            for at, answer in answers
            for one in answer.healed
        ),
        not_healed=tuple(
            replace(one, path=str(at.root / one.path)) for at, answer in answers for one in answer.not_healed
        ),
        pinned=pinned,
        blocks=tuple(blocks),
    )


def say(facts: Facts) -> None:
    """Print what was healed and what was not."""
    for one in facts.healed:
        kept = f"; what it was: {one.kept} in the quarantine" if one.kept else ""
        click.echo(printable(f"put back ({_words(one.damage)}): {one.path}: from {one.source}{kept}"))
        for also in one.also:
            click.echo(printable(f"  and its other name {also}"))
    for other in facts.not_healed:
        click.echo(printable(f"not put back ({_words(other.damage)}): {other.path}: {other.why}"))
        click.echo(printable(f"  {other.hint or _what_else(other)}"))
    for pin in facts.pinned:
        named = f"{pin.wrong.cid}, of {', '.join(pin.wrong.pins)}"
        if pin.why:
            click.echo(printable(f"not put back (pinned): {named}: {pin.why}"))
            click.echo(printable(f"  {pin.hint or 'It was: ' + pin.wrong.detail}"))
        else:
            click.echo(printable(f"put back (pinned): {named}: from {pin.source}"))
    for block in facts.blocks:
        said = f"not put back (imported): {block.cid}: {block.why}"
        click.echo(printable(said if block.why else f"put back (imported): {block.cid}: from {block.source}"))
    left = facts.left
    count = len(facts.healed) + len(facts.not_healed) + len(facts.pinned) + len(facts.blocks) - left
    said = f"{render.files(count)} put back" if count else "nothing was to be put back"
    if left:
        said = f"{render.files(count)} put back, {left} not"
    click.echo(f"{render.files(facts.files)}, {render.size(facts.bytes)} read: {said}.")


def _what_else(lost: NotHealed) -> str:
    if lost.damage == "missing":
        return f"Download it again. To see what is in quarantine: {command('quarantine ls')}"
    return _REMOVE.format(shell(lost.path))


def _words(damage: str) -> str:
    return damage.replace("_", " ")
