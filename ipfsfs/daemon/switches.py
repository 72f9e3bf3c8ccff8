"""When mounting is to be skipped: the switches a user sets, and the markers by which CI systems are known.

Skipping is no failure. Workers then go on from plain disk, which is complete at every moment.
"""

from __future__ import annotations

from collections.abc import Mapping

USER_SWITCHES = ("IPFS_KIT_DISABLE", "STORAGE_FORCE_LOCAL")
"""Set by a user who wants plain disk. In the order in which they are looked at; `--force` does not override them."""

CI_MARKERS = (
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
)
"""Set by CI systems. Some hold `true`, others a version or an address, so any value but a negative one counts."""

_ON = frozenset({"1", "true", "yes"})
_NEGATIVE = frozenset({"", "0", "false", "no"})


def switched_off(environ: Mapping[str, str]) -> str | None:
    """The first user switch that is on, or None. Letter case and surrounding blanks do not matter."""
    return next((name for name in USER_SWITCHES if _value(environ, name) in _ON), None)


def ci_marker(environ: Mapping[str, str]) -> str | None:
    """The first CI marker that counts, or None."""
    return next((name for name in CI_MARKERS if _value(environ, name) not in _NEGATIVE), None)


def skip_reason(environ: Mapping[str, str], *, force: bool) -> str | None:
    """One line that says why nothing is to be mounted and names the variable, or None where mounting may go on.

    `force` overrides CI markers only: who set a user switch meant it.
    """
    if name := switched_off(environ):
        return f"{name}={_shown(environ[name])} is set"
    if not force and (name := ci_marker(environ)):
        return f"this is CI ({name}={_shown(environ[name])} is set); --force mounts all the same"
    return None


def _value(environ: Mapping[str, str], name: str) -> str:
    return environ.get(name, "").strip().lower()


def _shown(value: str) -> str:
    """The value on one line and of a length that fits there: a marker can hold an address of any length."""
    line = " ".join(value.split())
    return line if len(line) <= 60 else line[:57] + "..."
