"""Each promise of docs/semantics.md is broken once, and noticed by a test that the page names for it.

The first tests see that mutants and page go together. To see each mutant noticed is a campaign:
`./mount_scripts/test -m campaign tests/mutants`.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.mutants.catalogue import MUTANTS, WITHOUT
from tests.mutants.mutant import Mutant, promises
from tests.mutants.running import Copy
from tests.support.mounted import TREE

PAGE = promises((TREE / "docs" / "semantics.md").read_text())
each_mutant = pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)


@each_mutant
def test_it_can_still_be_made(mutant: Mutant) -> None:
    assert ast.dump(ast.parse(mutant.mutated(TREE))) != ast.dump(ast.parse((TREE / mutant.file).read_text()))


@each_mutant
def test_the_page_names_the_tests_that_are_to_notice(mutant: Mutant) -> None:
    named = PAGE[mutant.promise]
    assert [test for test in mutant.tests if test not in named and test.split("::")[0] not in named] == []


def test_every_promise_is_broken() -> None:
    assert {mutant.promise for mutant in MUTANTS} | set(WITHOUT) == set(PAGE)
    assert not {mutant.promise for mutant in MUTANTS} & set(WITHOUT)


@pytest.mark.campaign
@pytest.mark.root
@pytest.mark.timeout(0)
class TestCampaign:
    def test_a_program_without_a_mutation_passes(self, tmp_path: Path) -> None:
        outcome = Copy.make(tmp_path).test(sorted({test for mutant in MUTANTS for test in mutant.tests}))
        assert not outcome.noticed, outcome.said
        assert outcome.passed

    @each_mutant
    def test_it_is_noticed(self, mutant: Mutant, tmp_path: Path) -> None:
        copy = Copy.make(tmp_path)
        mutant.apply(copy.tree)
        copy.works()
        outcome = copy.test(mutant.tests)
        assert outcome.noticed, f"in this program {mutant.breaks}, and {', '.join(mutant.tests)} passed"
        print(mutant.name, "noticed by", outcome.noticed)
