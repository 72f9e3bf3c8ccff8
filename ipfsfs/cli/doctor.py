"""`ipfsfs doctor`: what this machine has and lacks, each with its fix. Leaves nothing changed."""

from __future__ import annotations

import ctypes
import errno
import importlib.metadata
import os
import platform
import re
import resource
import select
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from ipfsfs.cli import native_reads, render
from ipfsfs.cli.diagnosis import Diagnosis
from ipfsfs.cli.scripts import Form, tell, tells
from ipfsfs.cli.teaming import TOKEN_ELSEWHERE
from ipfsfs.cli.usual import MOVED_BY, cache_home, hub_home
from ipfsfs.daemon import mounts
from ipfsfs.daemon.switches import skip_reason
from ipfsfs.errors import MountError
from ipfsfs.fuse import mountpoint, permitted
from ipfsfs.printed import command, printable

_ENOUGH_DESCRIPTORS = 65_536
_LITTLE_SPACE = 1_000_000_000
_PATIENCE_SECONDS = 2
_LARGEST_REQUEST = (1 << 20) + 4096
_INIT_VERSION = struct.Struct("=40xII")  # linux/fuse.h: fuse_in_header, then major and minor of fuse_init_in
_OLDEST_KERNEL = (5, 6)  # brought openat2, which keeps the daemon inside the tree
_REFLINKS = {"btrfs", "xfs", "bcachefs"}
_REDIRECTS = (
    "HF_HOME",
    *MOVED_BY,
    "SENTENCE_TRANSFORMERS_HOME",
    "TORCH_HOME",
    "XDG_CACHE_HOME",
)
_PACKAGES = ("pyfuse3", "trio", "multiformats", "xxhash", "mmh3", "click", "rich", "h11")
_ELSEWHERE = ("torch", "openvino", "openvino_models", "optimum", "ipfs_accelerate")


@dataclass(slots=True, frozen=True)
class Facts:
    """Whether everything that is needed is there, and all that was looked at."""

    ok: bool
    findings: tuple[Diagnosis, ...]


@click.command(short_help="Say what this machine lacks, and how to mend it.", epilog="Example: ipfsfs doctor")
@tells(Form(Facts))
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """Say what this machine has and lacks for ipfsfs, and how to mend it.

    Exit code 0 if everything needed is there, 1 if not.
    """
    findings = [finding for check in CHECKS for finding in check()]
    ok = all(finding.ok is not False for finding in findings)
    if as_json:
        tell(Facts(ok, tuple(findings)))
    else:
        _show(findings)
    ctx.exit(0 if ok else 1)


def _show(findings: list[Diagnosis]) -> None:
    word = {True: "ok", None: "note", False: "LACKING"}
    colour = {True: "green", None: None, False: "red"}
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        verdict = click.style(f"{word[finding.ok]:<7}", fg=colour[finding.ok])
        lines = [printable(line) for line in finding.detail.split("\n")]
        if finding.fix:
            lines.append(f"-> {printable(finding.fix)}")
        click.echo(f"{finding.name:<{width}}  {verdict}  {lines[0]}")
        for line in lines[1:]:
            click.echo(f"{'':<{width}}  {'':<7}  {line}")


def _device() -> Iterator[Diagnosis]:
    found = permitted.device()
    yield Diagnosis(permitted.DEVICE, found.ok, found.detail, found.fix)


def _right_to_mount() -> Iterator[Diagnosis]:
    found = permitted.right_to_mount()
    yield Diagnosis("right to mount", found.ok, found.detail, found.fix)


def _libfuse() -> Iterator[Diagnosis]:
    for name in ("libfuse3.so.4", "libfuse3.so.3"):
        try:
            library = ctypes.CDLL(name)
        except OSError:
            continue
        library.fuse_pkgversion.restype = ctypes.c_char_p
        version = bytes(library.fuse_pkgversion()).decode()
        yield Diagnosis("libfuse", True, f"{version} ({name})")
        return
    yield Diagnosis("libfuse", False, "libfuse 3 is not there", "install libfuse3-3 (dnf: fuse3-libs, pacman: fuse3)")


def _user_allow_other() -> Iterator[Diagnosis]:
    try:
        allowed = re.search(r"^\s*user_allow_other\s*$", Path("/etc/fuse.conf").read_text(), re.MULTILINE) is not None
    except OSError:
        allowed = False
    if allowed:
        yield Diagnosis("user_allow_other", True, "set in /etc/fuse.conf")
    elif os.geteuid() == 0:
        yield Diagnosis("user_allow_other", True, "not set in /etc/fuse.conf; root can mount with --allow-other anyway")
    else:
        yield Diagnosis(
            "user_allow_other",
            None,
            "not set in /etc/fuse.conf: --allow-other is refused to this user",
            "as root: echo user_allow_other >>/etc/fuse.conf",
        )


def _descriptors() -> Iterator[Diagnosis]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = hard == resource.RLIM_INFINITY or hard >= _ENOUGH_DESCRIPTORS
    detail = f"{soft} now, {'no limit' if hard == resource.RLIM_INFINITY else hard} at most (which the daemon takes)"
    fix = "" if enough else f"raise the hard limit: LimitNOFILE={_ENOUGH_DESCRIPTORS} in the unit, or limits.conf"
    yield Diagnosis("open files", True if enough else None, detail, fix)


def _fusectl() -> Iterator[Diagnosis]:
    place = "/sys/fs/fuse/connections"
    if any(mount.filesystem == "fusectl" for mount in mounts.all_mounts()):
        yield Diagnosis("fusectl", True, f"mounted at {place}")
    else:
        yield Diagnosis(
            "fusectl",
            None,
            f"not mounted at {place}: a daemon that hangs can then be killed, but not cut off from its mount",
            f"as root: mount -t fusectl fusectl {place}",
        )


def _switches() -> Iterator[Diagnosis]:
    reason = skip_reason(os.environ, force=False)
    if reason:
        yield Diagnosis("switches", None, f"mount would mount nothing: {reason}")
    else:
        yield Diagnosis("switches", True, "no CI marker, and nothing that switches mounting off")
    if "TRANSFORMERS_PATCH_DISABLE" in os.environ:
        yield Diagnosis("TRANSFORMERS_PATCH_DISABLE", None, "has no meaning here: nothing is patched", "leave it unset")


def _cache() -> Iterator[Diagnosis]:
    path = hub_home()
    view = mounts.view_over(Path(os.path.normpath(path)))
    try:
        if view is not None and not mounts.answers(view):
            raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))
        there = next(place for place in (path, *path.parents) if place.exists())
        space = os.statvfs(there)
    except MountError as error:  # to look any further would take as long as the daemon does
        yield Diagnosis("cache", False, str(error), error.hint)
        return
    except OSError as error:
        fix = f"if a daemon died here: {command('umount', view.mountpoint if view else path)}"
        yield Diagnosis("cache", False, f"{path}: {error.strerror}", fix)
        return
    mount = _mount_of(there)
    free = space.f_bavail * space.f_frsize
    known = [f"on {mount.filesystem} at {mount.mountpoint}", f"{render.size(free)} free"]
    known.append("reflinks" if mount.filesystem in _REFLINKS else "no reflinks")
    if there != path:
        known.append("does not exist yet")
    if space.f_flag & os.ST_RDONLY:
        known.append("read-only")
    if mount.filesystem.startswith("nfs"):
        known.append("other machines can write here unseen, so a changed byte is served and logged, never refused")
    elif mount.filesystem == "overlay":
        known.append("the layer of a container, which goes when it goes")
    elif mount.filesystem in ("tmpfs", "ramfs"):
        known.append("in memory, gone after a restart")
    fix = "little space is left: hf cache ls, hf cache rm" if free < _LITTLE_SPACE else ""
    yield Diagnosis("cache", None if fix else True, f"{path}: {', '.join(known)}", fix)


def _reads() -> Iterator[Diagnosis]:
    """Of the cache, and of what is mounted by this user."""
    cache = Path(os.path.normpath(hub_home()))
    if mounts.view_over(cache) is None:  # else it is a view that may not answer
        cache = Path(os.path.realpath(cache))
    yield native_reads.who_checks([cache, *(view.mountpoint for view in mounts.our_views())])


def _mount_of(path: Path) -> mounts.Mount:
    real = Path(os.path.realpath(path))
    # The deepest holds it; of several at one place, the last is the one to be seen.
    holding = [mount for mount in mounts.all_mounts() if real.is_relative_to(mount.mountpoint)]
    return max(enumerate(holding), key=lambda numbered: (len(numbered[1].mountpoint.parts), numbered[0]))[1]


def _other_caches() -> Iterator[Diagnosis]:
    redirected = [
        f"{name}={os.environ[name]}"
        for name in (*_REDIRECTS, *sorted(name for name in os.environ if name.startswith("OVMS_")))
        if os.environ.get(name, "").startswith(("/", "~"))
    ]
    redirected += [str(cache_home() / name) for name in _ELSEWHERE if (cache_home() / name).is_dir()]
    if redirected:
        yield Diagnosis(
            "other caches", None, "\n".join(redirected), "each directory that workers use can have a mount of its own"
        )


def _token() -> Iterator[Diagnosis]:
    """Where other users are let in, a token in the cache is one user's, and each of the others needs a place."""
    home = hub_home()
    token = Path(os.path.expandvars(os.environ.get("HF_TOKEN_PATH") or home / "token")).expanduser().absolute()
    view = mounts.view_over(Path(os.path.normpath(home)))
    if view is None or "allow_other" not in view.options:
        return
    if not Path(os.path.normpath(token)).is_relative_to(view.mountpoint):
        yield Diagnosis("token", True, f"{token}: not in {view.mountpoint}, which others use too")
        return
    yield Diagnosis(
        "token",
        None,
        f"{token} is in {view.mountpoint}, which others use too: with --team it is there for who made it only, and a "
        "login of another user is refused",
        f"{TOKEN_ELSEWHERE}   (for each user, before hf auth login)",
    )


def _trial() -> Iterator[Diagnosis]:
    """A mount in a directory of its own, taken away at once: the kernel's first message tells its protocol."""
    kernel = f"Linux {platform.release()} {platform.machine()}"
    with tempfile.TemporaryDirectory(prefix="ipfsfs-doctor-") as name:
        place = Path(name).resolve()
        try:
            device = mountpoint.mount(place, "ipfsfs-doctor", allow_other=False, read_only=True)
        except MountError as error:
            yield Diagnosis("trial mount", False, f"{kernel}: {error}", error.hint)
            return
        try:
            ready, _, _ = select.select([device], [], [], _PATIENCE_SECONDS)
            first = os.read(device, _LARGEST_REQUEST) if ready else b""
        finally:
            os.close(device)
            mountpoint.unmount(place, lazy=True)
    if len(first) < _INIT_VERSION.size:
        yield Diagnosis("trial mount", False, f"{kernel} mounted, but sent no request")
        return
    major, minor = _INIT_VERSION.unpack_from(first)
    release = re.match(r"(\d+)\.(\d+)", platform.release())
    new_enough = release is not None and (int(release[1]), int(release[2])) >= _OLDEST_KERNEL
    fix = "" if new_enough else f"a kernel of {_OLDEST_KERNEL[0]}.{_OLDEST_KERNEL[1]} or newer is needed"
    yield Diagnosis("trial mount", new_enough, f"{kernel}, FUSE protocol {major}.{minor}", fix)
    yield native_reads.possible(first)


def _python() -> Iterator[Diagnosis]:
    yield Diagnosis("python", sys.version_info >= (3, 11), f"{platform.python_version()} ({sys.executable})")


def _packages() -> Iterator[Diagnosis]:
    # In a process of its own: a pyfuse3 built for another libfuse takes down who imports it.
    trial = subprocess.run([sys.executable, "-c", "import pyfuse3"], capture_output=True, text=True, check=False)
    if trial.returncode:
        last = trial.stderr.strip().split("\n")[-1]
        yield Diagnosis("packages", False, f"pyfuse3 does not load: {last}", "remove the environment and start again")
        return
    yield Diagnosis("packages", True, ", ".join(f"{name} {importlib.metadata.version(name)}" for name in _PACKAGES))


CHECKS: tuple[Callable[[], Iterator[Diagnosis]], ...] = (
    _device,
    _right_to_mount,
    _trial,
    _libfuse,
    _user_allow_other,
    _fusectl,
    _descriptors,
    _python,
    _packages,
    _switches,
    _cache,
    _reads,
    _token,
    _other_caches,
)
"""What `doctor` looks at, in the order in which it is shown."""
