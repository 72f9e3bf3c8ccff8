"""The documents are true where a machine can tell: what is generated is current, what is named is there."""

from __future__ import annotations

import re
from itertools import repeat

import click
import pytest

from ipfsfs.cli.main import cli
from tests.support.generated_docs import DOCS, pages

ROOT = DOCS.parent
DOCUMENTS = sorted([ROOT / "README.md", *DOCS.rglob("*.md")])
LONGEST_LINE = 120
# Hazards of what does not stand yet (eviction, pins, peers, serving): docs/semantics.md says so in one line.
NOT_YET = {26, 27, 31, 43}
HAZARDS = 52


@pytest.mark.parametrize("page", sorted(pages()))
def test_what_is_generated_is_current(page: str) -> None:
    assert (DOCS / page).read_text() == pages()[page], "run: python -m tests.support.generated_docs"


def test_every_test_that_is_named_exists() -> None:
    missing = []
    for document in DOCUMENTS:
        for path, name in re.findall(r"`(tests/[\w/.]+\.py)(?:::(\w+))?`", document.read_text()):
            source = ROOT / path
            if not source.is_file() or (name and not re.search(rf"def {name}\(", source.read_text())):
                missing.append(f"{document.relative_to(ROOT)}: {path}::{name}")
    assert not missing


def test_every_hazard_has_its_row_and_every_test_it_counts_on_bears_its_number() -> None:
    rows = dict(re.findall(r"^\| H(\d+) \|(.*)\|$", (DOCS / "semantics.md").read_text(), re.MULTILINE))
    assert {int(number) for number in rows} == set(range(1, HAZARDS + 1)) - NOT_YET
    numbered = {
        int(number)
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"def (test_h\d\d\w*)\(", path.read_text())
        for number in re.findall(r"h(\d\d)(?=_)", name)
    }
    without = {int(number) for number, row in rows.items() if not row.split("|")[-1].strip().startswith("`-k h")}
    assert set(map(int, rows)) - without <= numbered
    assert not without & numbered, "these have a test, and the table says they have none"


def test_links_lead_somewhere() -> None:
    broken = [
        f"{document.relative_to(ROOT)}: {target}"
        for document in DOCUMENTS
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", document.read_text())
        if "://" not in target and not (document.parent / target).exists()
    ]
    assert not broken


def test_what_a_reader_is_told_to_type_exists() -> None:
    """Commands and their long options, in every document but the generated one."""
    unknown = []
    for document in DOCUMENTS:
        if document.name == "cli.md" or document.parent.name == "decisions":  # a decision may name what is no more
            continue
        for line in re.findall(
            r"(?:`|^    (?:sudo )?(?:\./mount_scripts/)?)ipfsfs ([a-z][^`\n#|]*)", document.read_text(), re.MULTILINE
        ):
            name, *words = line.split()
            command = cli.get_command(click.Context(cli), name)
            if isinstance(command, click.Group) and words:
                command = command.get_command(click.Context(command), words[0])
            known = (
                {option for parameter in command.params for option in [*parameter.opts, *parameter.secondary_opts]}
                if command
                else set()
            )
            given = {word.partition("=")[0].rstrip(".,:;)") for word in words if word.startswith("--")} - {"--help"}
            if command is None or not given <= known:
                unknown.append(f"{document.relative_to(ROOT)}: ipfsfs {line}")
    assert not unknown


def test_what_a_reader_may_leave_out_is_optional() -> None:
    """`ipfsfs NAME [PATH]`, wherever it is written; and each line to be typed names what its command asks for."""
    wrong = []
    for document in [document for document in DOCUMENTS if document.parent.name != "decisions"]:
        text = document.read_text()
        usages = re.findall(r"`ipfsfs ([a-z]+) (\[[A-Z][^`\n]*)`", text)
        typed = re.findall(
            r"^    (?:sudo )?(?:\./mount_scripts/)?ipfsfs ([a-z]+)([^\n#]*?)(?: \||#|$)", text, re.MULTILINE
        )
        for (name, words), is_usage in [*zip(usages, repeat(True)), *zip(typed, repeat(False))]:
            command = cli.get_command(click.Context(cli), name)
            arguments = [] if command is None else [one for one in command.params if isinstance(one, click.Argument)]
            required = sum(one.required for one in arguments)
            given = 0 if is_usage else sum(not word.startswith("-") for word in words.split())
            if given < required:
                wrong.append(f"{document.relative_to(ROOT)}: ipfsfs {name} {words}")
    assert not wrong


def test_lines_are_short() -> None:
    long = [
        f"{document.relative_to(ROOT)}:{number}"
        for document in DOCUMENTS
        for number, line in enumerate(document.read_text().splitlines(), start=1)
        if len(line) > LONGEST_LINE and not line.startswith("|")  # a row of a table cannot be broken
    ]
    assert not long
