"""What surrounds the units under a real systemd: boot and shutdown, fstab, the journal, and the units' installation."""

from __future__ import annotations

import pytest

from tests.support.booted import CHECKOUT, DATA, Booted
from tests.support.processes import eventually
from tests.support.view_unit import CONTENT, ViewUnit

pytestmark = [pytest.mark.root, pytest.mark.systemd]
IPFSFS = CHECKOUT / "mount_scripts" / "ipfsfs"


def test_users_save_before_the_view_ends_at_shutdown_and_it_is_back_after_boot(machine: Booted, unit: ViewUnit) -> None:
    """A user has logged in: systemd orders the processes of users after systemd-user-sessions.service. The view serves
    what is open for a second only, once its unit is stopped."""
    in_fstab = a_line_in_fstab(machine, "at boot", "nofail,allow_other")
    unit.add(TimeoutStopSec="2")
    unit.do("enable", "--now")
    logged_in = unit.start_user("logged-in", after="systemd-user-sessions.service", saves_s=2.5)
    machine.poweroff()
    assert logged_in.read_text() == "saved\n"
    machine.boot()
    assert (unit.state, unit.mounted, unit.reads()) == (("active", "success"), True, True)
    assert machine.mounted(DATA / in_fstab)
    machine.shell(f"umount '{DATA / in_fstab}'; : >/etc/fstab; systemctl disable '{unit.name}'")


def test_fstab_mounts_and_unmounts_as_any_filesystem(machine: Booted) -> None:
    name = a_line_in_fstab(machine, "fstab", "noauto,allow_other")
    path = DATA / name
    machine.run("mount", path)
    assert machine.mounted(path)
    assert machine.run("cat", path / "file").stdout == CONTENT
    machine.run("umount", path)
    started = machine.shell(f"systemctl start '{path}'; findmnt -n -o FSTYPE '{path}'; systemctl stop '{path}'")
    assert started == "fuse.ipfsfs\n"
    assert not machine.mounted(path)
    assert machine.run("cat", path / "file").stdout == CONTENT


def test_an_automount_is_refused_in_words_and_nothing_waits_for_itself(machine: Booted) -> None:
    if machine.run("test", "-e", "/dev/autofs", check=False).returncode != 0:
        pytest.skip("this kernel has no autofs")
    path = DATA / a_line_in_fstab(machine, "automount", "noauto,x-systemd.automount")
    automount = machine.shell(f"systemd-escape --path --suffix=automount '{path}'").strip()
    machine.run("systemctl", "start", automount)
    try:
        looked = machine.run("timeout", "10", "ls", path, check=False)
        assert looked.returncode == 2, "it ends by itself"
        said = [str(entry["MESSAGE"]) for entry in machine.journal(automount.replace(".automount", ".mount"))]
        assert any("mount.ipfsfs: " in line and "x-systemd.automount" in line for line in said)
        by_hand = machine.run(CHECKOUT / "mount_scripts" / "mount.ipfsfs", "none", path, check=False)
        assert by_hand.returncode == 32
        assert "is an automount" in by_hand.stderr
        assert machine.run("pgrep", "-f", f"ipfsfs.*{path}", check=False).stdout == ""
    finally:
        machine.shell(f"systemctl stop '{automount}'; : >/etc/fstab; systemctl daemon-reload")
    assert machine.run("cat", path / "file").stdout == CONTENT


def test_the_journal_has_priorities_and_one_time(unit: ViewUnit) -> None:
    unit.do("start")
    guardian = unit.machine.shell(f"pgrep -P {unit.pid} -f daemon.guardian").strip()
    unit.machine.run("kill", "-KILL", guardian)
    eventually(lambda: unit.said("--priority=warning"), "the warning is in the journal")
    (warning,) = unit.journal("--priority=warning")
    assert warning["MESSAGE"].startswith("the guardian was ended (exit code -9)")
    assert warning["PRIORITY"] == "4"
    (mounted,) = [entry for entry in unit.journal() if str(entry["MESSAGE"]).startswith(f"mounted {unit.path}")]
    assert mounted["PRIORITY"] == "6"


def test_what_is_mounted_by_hand_already_is_said_and_left_to_who_mounted_it(machine: Booted, unit: ViewUnit) -> None:
    machine.run(IPFSFS, "mount", unit.path, IPFSFS_VENV=venv(unit))
    try:
        assert unit.do("start", check=False) != ""
        assert unit.state == ("failed", "exit-code")
        assert f"{unit.path} is mounted already" in unit.said("--priority=err", "--output-fields=MESSAGE,_PID")
        assert unit.show("NRestarts") == "0"
        assert (unit.mounted, unit.reads()) == (True, True)
    finally:
        machine.run(IPFSFS, "umount", unit.path, IPFSFS_VENV=venv(unit))


@pytest.mark.parametrize("directory", ["there", "missing"])
def test_in_ci_nothing_is_mounted_and_nothing_is_wrong(unit: ViewUnit, directory: str) -> None:
    unit.add(Environment="CI=true")
    if directory == "missing":
        unit.machine.run("rm", "-r", unit.path)
    unit.do("start")
    eventually(lambda: unit.state == ("inactive", "success"), "it is done")
    assert "not mounting" in unit.said()
    assert unit.said("--priority=warning") == ""
    assert "does not exist" not in unit.said()


def test_a_second_checkout_takes_no_view_over_without_a_word(machine: Booted) -> None:
    second = DATA / "second"
    machine.shell(f"cp -r {CHECKOUT} {second}")
    before = machine.shell("cat /etc/systemd/system/ipfsfs@.service")
    refused = machine.install_units("/srv/any", checkout=second)
    assert refused.returncode == 1
    assert f"start {IPFSFS}, which is of another checkout" in refused.stderr
    assert f"{second}/mount_scripts/install-units --system --replace /srv/any" in refused.stderr
    assert machine.shell("cat /etc/systemd/system/ipfsfs@.service") == before


def test_one_view_is_removed_and_then_all_units(machine: Booted, unit: ViewUnit) -> None:
    other = ViewUnit.make(machine, "another view")
    for one in (unit, other):
        one.do("enable", "--now")
    removed = machine.install_units("--remove", unit.path)
    assert removed.returncode == 0, removed.stderr
    assert [(one.state[0], one.mounted, one.show("UnitFileState")) for one in (unit, other)] == [
        ("inactive", False, "disabled"),
        ("active", True, "enabled"),
    ]
    assert unit.reads()
    try:
        removed = machine.install_units("--remove")
        assert removed.returncode == 0, removed.stderr
        assert not other.mounted
        assert other.reads()
        assert machine.shell("find /etc/systemd/system -name '*ipfsfs*'") == ""
        assert other.show("LoadState") == "not-found"
    finally:
        assert machine.install_units("/srv/any").returncode == 0
        machine.run("systemctl", "daemon-reload")


def a_line_in_fstab(machine: Booted, name: str, options: str) -> str:
    """A new directory with a file, over which fstab mounts a view; its name."""
    (machine.data / name).mkdir()
    (machine.data / name / "file").write_text(CONTENT)
    escaped = str(DATA / name).replace(" ", "\\040")
    (machine.root / "etc" / "fstab").write_text(f"none {escaped} ipfsfs {options} 0 0\n")
    machine.run("systemctl", "daemon-reload")
    return name


def venv(unit: ViewUnit) -> str:
    """Where the packages are that the unit runs from."""
    (found,) = [word for word in unit.show("Environment").split() if word.startswith("IPFSFS_VENV=")]
    return found.removeprefix("IPFSFS_VENV=")
