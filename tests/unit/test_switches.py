"""The rules by which mounting is skipped: order, values that count, and what `--force` overrides."""

from __future__ import annotations

import itertools

import pytest

from ipfsfs.daemon.switches import CI_MARKERS, USER_SWITCHES, skip_reason

# Written out again, in the order of precedence, so that a name lost from the module is noticed.
IN_ORDER = [
    "IPFS_KIT_DISABLE",
    "STORAGE_FORCE_LOCAL",
    "CI",
    "GITHUB_ACTIONS",
    "GITLAB_CI",
    "JENKINS_URL",
    "CIRCLECI",
    "TF_BUILD",
    "TEAMCITY_VERSION",
    "BUILDKITE",
    "TRAVIS",
    "APPVEYOR",
    "CODEBUILD_BUILD_ID",
]


def test_nothing_set_means_mount() -> None:
    assert skip_reason({}, force=False) is None
    assert skip_reason({"HOME": "/home/ann", "TRANSFORMERS_PATCH_DISABLE": "1"}, force=False) is None


def test_every_name_is_known_and_none_else() -> None:
    assert list(USER_SWITCHES + CI_MARKERS) == IN_ORDER


@pytest.mark.parametrize("name", IN_ORDER)
@pytest.mark.parametrize("value", ["1", "true", "yes", "TRUE", "Yes", " true "])
def test_each_name_skips_and_is_named(name: str, value: str) -> None:
    reason = skip_reason({name: value}, force=False)
    assert reason is not None
    assert name in reason
    assert "\n" not in reason


@pytest.mark.parametrize("name", IN_ORDER)
@pytest.mark.parametrize("value", ["", "0", "false", "no", "False", "NO", " "])
def test_negative_values_do_not_count(name: str, value: str) -> None:
    assert skip_reason({name: value}, force=False) is None


@pytest.mark.parametrize("value", ["on", "2", "enable", "2023.11.4"])
def test_a_switch_needs_a_clear_yes_and_a_marker_only_a_value(value: str) -> None:
    for switch in ("IPFS_KIT_DISABLE", "STORAGE_FORCE_LOCAL"):
        assert skip_reason({switch: value}, force=False) is None
    for marker in IN_ORDER[2:]:
        assert skip_reason({marker: value}, force=False) is not None


@pytest.mark.parametrize(("first", "second"), list(itertools.pairwise(IN_ORDER)))
def test_the_earlier_name_is_the_one_named(first: str, second: str) -> None:
    # The later one comes first in the environment: its order must not decide.
    reason = skip_reason({second: "true", first: "true"}, force=False)
    assert reason is not None
    assert f"{first}=" in reason
    assert f"{second}=" not in reason


def test_a_negative_marker_does_not_hide_a_later_one() -> None:
    reason = skip_reason({"CI": "false", "BUILDKITE": "true"}, force=False)
    assert reason is not None
    assert "BUILDKITE" in reason


@pytest.mark.parametrize("name", IN_ORDER)
def test_force_overrides_ci_and_nothing_else(name: str) -> None:
    forced = skip_reason({name: "1"}, force=True)
    if name in ("IPFS_KIT_DISABLE", "STORAGE_FORCE_LOCAL"):
        assert forced is not None
        assert name in forced
    else:
        assert forced is None


def test_force_still_sees_a_switch_behind_a_marker() -> None:
    reason = skip_reason({"CI": "1", "STORAGE_FORCE_LOCAL": "yes"}, force=True)
    assert reason is not None
    assert "STORAGE_FORCE_LOCAL" in reason


def test_the_reason_stays_on_one_line_whatever_the_value() -> None:
    reason = skip_reason({"JENKINS_URL": "https://ci.example.org/\njob" + "x" * 1000}, force=False)
    assert reason is not None
    assert "\n" not in reason
    assert len(reason) < 200
