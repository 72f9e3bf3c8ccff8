"""What docs/deploy.md tells to do, as far as it can be done on one computer."""

from __future__ import annotations

import dataclasses
import os
import shlex
import sys
import types
import typing
from collections.abc import Callable, Iterator
from importlib import import_module
from keyword import iskeyword
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.site.sharing import FOLDER, REPO, announced, end, have, holds, sharing, token_of
from tests.support.llama import Llama
from tests.support.machine_view import PORT
from tests.support.machines import Machine, Site
from tests.support.mounted import TREE

pytestmark = [pytest.mark.root, pytest.mark.workers]

SCRIPTS = TREE / "mount_scripts"


def _named(site: Site, names: dict[str, list[str]]) -> None:
    """Have all machines know names, each with its addresses."""
    lines = [f"{address} {name}" for name, addresses in names.items() for address in addresses]
    for machine in site.machines:
        hosts = machine.directory / "hosts"
        hosts.write_text("\n".join(["127.0.0.1 localhost", *lines, ""]))
        machine.computer.run("mount", "--bind", hosts, "/etc/hosts")


def test_two_computers_at_a_desk_know_each_other_by_name(site: Callable[[int], Site], small: Llama) -> None:
    here = site(2)
    ann, bob = here.machines
    here.hub.add_folder(REPO, small.folder)
    _named(here, {"ann.local": [ann.address], "bob.local": [bob.address]})
    for machine in here.machines:
        machine.view.mount(
            *("--serve", f"0.0.0.0:{PORT}", "--peers", f"ann.local:{PORT},bob.local:{PORT}"),
            *("--token-file", token_of(here)),
        )
    have(ann)
    announced(ann, small)
    have(bob)

    holds(bob, small)
    assert bob.view.peers()["from_peers"] > 0.9 * small.size
    assert here.taken(REPO) <= 1.05 * small.size + 20_000
    end(here)


def test_a_name_with_the_addresses_of_all_and_a_file_that_grows(site: Callable[[int], Site], small: Llama) -> None:
    """As a headless service, and as /etc/ipfsfs/peers with the configuration file: with the settings of the recipe."""
    here = site(3)
    here.hub.add_folder(REPO, small.folder)
    first, second, third = here.machines
    _named(here, {"peers.ipfsfs.svc.cluster.local": [machine.address for machine in here.machines]})
    listed = here.root / "peers"
    listed.write_text(f"# the site\n{first.address}:{PORT}\n")
    for machine in (first, second):
        settings = machine.directory / "state" / "ipfsfs" / "config.toml"
        settings.parent.mkdir()
        settings.write_text(
            f'[view."{machine.home}"]\nserve = "0.0.0.0:{PORT}"\npeers = "{listed}"\ntoken_file = "{token_of(here)}"\n'
        )
        machine.view.mount()
    third.view.mount(
        *(f"--serve=0.0.0.0:{PORT}", f"--peers=dns:peers.ipfsfs.svc.cluster.local:{PORT}"),
        *("--token-file", token_of(here)),
    )
    assert [state["address"] for state in second.view.peers()["peers"]] == [f"{first.address}:{PORT}"]
    with listed.open("a") as file:
        file.writelines(f"{machine.address}:{PORT}\n" for machine in (second, third))
    os.utime(listed, (1, 1))
    have(first)
    announced(first, small)
    for machine in (second, third):
        have(machine)
        holds(machine, small)
        assert len([state for state in machine.view.peers()["peers"] if state["is_listed"]]) == 3
    assert here.taken(REPO) <= 1.05 * small.size + 20_000
    end(here)


class TestSlurm:
    def script(self, machine: Machine, name: str, **env: str) -> None:
        """Run one as slurmd does: by root, with the job's variables, and nothing else in the environment."""
        told = machine.directory / "slurm"
        told.write_text(f"HF_HOME={shlex.quote(str(machine.home))}\nKEEP=1MB\nPATH={shlex.quote(os.environ['PATH'])}\n")
        machine.computer.run("mkdir", "-p", "/etc/ipfsfs")
        machine.computer.run("sh", "-c", f"mount -t tmpfs none /etc/ipfsfs && cp {told} /etc/ipfsfs/slurm")
        keep = {"HF_ENDPOINT", "PYTHONPATH", "XDG_STATE_HOME", "XDG_CONFIG_HOME", "XDG_CONFIG_DIRS", "XDG_RUNTIME_DIR"}
        kept = {key: value for key, value in machine.environment().items() if key in keep}
        done = machine.run(SCRIPTS / "slurm" / name, env={**kept, **env}, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        machine.computer.run("umount", "/etc/ipfsfs")

    def test_the_prolog_has_a_jobs_models_here_and_the_epilog_frees_the_disk(
        self, site: Callable[[int], Site], small: Llama
    ) -> None:
        """All of the model are ordinary files before the job begins; after it no more is kept than is to be."""
        here = sharing(site(2), small)
        first, second = here.machines
        have(first)
        announced(first, small)
        comment = f"for fun; hf:{REPO} hf:../../etc hf:$(reboot) hf:org/none"
        self.script(second, "prolog", SLURM_JOB_ID="7", SLURM_JOB_USER="root", SLURM_JOB_COMMENT=comment)

        blobs = list((second.home / FOLDER / "blobs").iterdir())  # beneath the view
        assert [path for path in blobs if path.is_symlink()] == []
        assert sum(path.stat().st_size for path in blobs) == small.size
        assert here.taken(REPO) <= 1.05 * small.size + 20_000
        self.script(second, "epilog", SLURM_JOB_ID="7")
        left = [path for path in (second.home / FOLDER / "blobs").iterdir() if not path.is_symlink()]
        assert sum(path.stat().st_size for path in left) < 1_000_000
        holds(second, small)
        end(here)

    @pytest.mark.parametrize("name", ["prolog", "epilog"])
    def test_both_exit_with_0_whatever_happens(self, site: Callable[[int], Site], name: str) -> None:
        """Nothing is mounted, the Hub has no such model, there is no such user: no node is drained for it."""
        here = site(1)
        (machine,) = here.machines
        self.script(machine, name)
        self.script(machine, name, SLURM_JOB_ID="1", SLURM_JOB_USER="nobody-like-this", SLURM_JOB_COMMENT="hf:org/none")
        self.script(machine, name, SLURM_JOB_ID="2", SLURM_JOB_COMMENT="x" * 100_000)


def manifests() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in sorted((SCRIPTS / "kubernetes").glob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            yield f"{path.name} {document['kind']}", document


class TestKubernetes:
    @pytest.mark.parametrize("manifest", [pytest.param(found, id=name) for name, found in manifests()])
    def test_manifests_are_what_the_api_publishes(self, manifest: dict[str, Any]) -> None:
        """Each field is one of the published API, of the type it has there; none that is required is missing."""
        wrong = list(differences(model_of(manifest), manifest, manifest["kind"]))
        assert not wrong, "\n".join(wrong)

    def test_names_agree(self) -> None:
        """The peers of the command are the name of the service, its port the container's, the pod's directory ours."""
        found = {document["kind"]: document for _, document in manifests()}
        template = found["DaemonSet"]["spec"]["template"]
        (container,) = template["spec"]["containers"]
        service, labels = found["Service"], template["metadata"]["labels"]
        name = f"{service['metadata']['name']}.{service['metadata']['namespace']}.svc.cluster.local"
        assert f"--peers=dns:{name}:{service['spec']['ports'][0]['port']}" in container["command"]
        assert service["spec"]["selector"] == labels == found["DaemonSet"]["spec"]["selector"]["matchLabels"]
        assert service["spec"]["clusterIP"] == "None"
        path = template["spec"]["volumes"][0]["hostPath"]["path"]
        assert found["Pod"]["spec"]["volumes"][0]["hostPath"]["path"] == path
        assert Path(container["command"][-1]).parent == Path(path)

    def test_a_view_reaches_pods_that_were_there_before_it(self, site: Callable[[int], Site]) -> None:
        """With mounts shared as the kubelet shares them: the daemon's both ways, the pod's one way."""
        here = site(1)
        (machine,) = here.machines
        top = machine.home.parent
        machine.computer.run("mount", "--bind", top, top)
        machine.computer.run("mount", "--make-rshared", top)
        file, go_on = shlex.quote(str(machine.home / "x")), shlex.quote(str(machine.directory / "go-on"))
        look = f"until [ -e {go_on} ]; do sleep 0.1; done; cat {file} && findmnt -n -o FSTYPE --target {file}"
        pod = machine.popen("unshare", "--mount", "--propagation", "slave", "sh", "-c", look)
        mount = [sys.executable, "-m", "ipfsfs", "mount", str(machine.home), "--allow-other"]
        machine.run("unshare", "--mount", "--propagation", "unchanged", *mount)
        machine.run("sh", "-c", f"echo hello > {shlex.quote(str(machine.home / 'x'))}")
        (machine.directory / "go-on").touch()
        out, err = pod.communicate(timeout=30)
        assert out.split()[:2] == ["hello", "fuse.ipfsfs"], err
        machine.view.umount()


API = {
    "v1": "kube_models.api_v1.io.k8s.api.core.v1",
    "apps/v1": "kube_models.apis_apps_v1.io.k8s.api.apps.v1",
    "networking.k8s.io/v1": "kube_models.apis_networking_k8s_io_v1.io.k8s.api.networking.v1",
}


def model_of(manifest: dict[str, Any]) -> Any:
    """The published class of a manifest's kind and version."""
    return getattr(import_module(API[manifest["apiVersion"]]), manifest["kind"])


def differences(kind: Any, value: Any, at: str) -> Iterator[str]:
    """How a value differs from a type: fields that are unknown or missing, and values of other types."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        tried = [list(differences(one, value, at)) for one in arguments if one is not type(None) or value is None]
        if not any(not found for found in tried):
            yield from min(tried, key=len)
    elif origin is typing.ClassVar:
        yield from differences(arguments[0], value, at)
    elif origin is typing.Literal:
        if value not in arguments:
            yield f"{at}: {value!r} is none of {arguments}"
    elif origin is dict:
        for key, inner in value.items():
            yield from differences(arguments[1], inner, f"{at}.{key}")
    elif origin is list:
        for number, inner in enumerate(value):
            yield from differences(arguments[0], inner, f"{at}[{number}]")
    elif dataclasses.is_dataclass(kind):
        if not isinstance(value, dict):
            yield f"{at}: no object"
            return
        assert isinstance(kind, type)
        hints = typing.get_type_hints(kind)
        for field in dataclasses.fields(kind):
            is_optional = field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
            if field.name not in value and not is_optional:
                yield f"{at}: {field.name} is missing"
        for key, inner in value.items():
            name = f"{key}_" if iskeyword(key) else key
            if name not in hints:
                yield f"{at}: there is no {key}"
            else:
                yield from differences(hints[name], inner, f"{at}.{key}")
    elif isinstance(kind, type) and not isinstance(value, kind):
        yield f"{at}: {value!r} is no {kind.__name__}"
