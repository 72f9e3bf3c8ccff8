"""From settings to origins. A new kind is a name in `KINDS` and a class that fills `Origin`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from ipfsfs.errors import UsageError
from ipfsfs.origins import address
from ipfsfs.origins.announcing import Announcing
from ipfsfs.origins.checked import Checked
from ipfsfs.origins.cluster import Cluster
from ipfsfs.origins.gateway import AtHand, Gateway
from ipfsfs.origins.http import Client
from ipfsfs.origins.hub_files import HubFiles
from ipfsfs.origins.kit import Kit
from ipfsfs.origins.kubo import AtNode, Kubo
from ipfsfs.origins.message import Limits
from ipfsfs.origins.ordered import Ordered
from ipfsfs.origins.origin import Origin, Publisher
from ipfsfs.origins.paused import Paused
from ipfsfs.origins.pinning_service import PinningService
from ipfsfs.origins.remote_pins import PinKeeper
from ipfsfs.origins.routing import Routing
from ipfsfs.origins.rpc import Rpc
from ipfsfs.origins.settings import KIT, OriginSettings

HUB: Final = "hub"
"""The kind of a Hub, which has files of repositories and no blocks by CID alone."""
KINDS: Final[dict[str, Callable[[Client], Origin]]] = {"kubo": Kubo, "gateway": Gateway, "routing": Routing}
WITHOUT_ADDRESS: Final[dict[str, Callable[[], Origin]]] = {KIT: Kit}
"""Kinds that no URL is known of."""


def open_origin(settings: OriginSettings, limits: Limits | None = None) -> Origin:
    """The origin, unchecked. Nothing is asked yet. Raises UsageError for settings that make no sense."""
    if settings.kind in WITHOUT_ADDRESS:
        return WITHOUT_ADDRESS[settings.kind]()
    return KINDS[_kind(settings)](_client(settings, limits or Limits()))


def open_publisher(settings: OriginSettings, limits: Limits | None = None) -> Publisher:
    """The node as a publisher. Raises UsageError for a kind that publishes nothing."""
    if _kind(settings) != "kubo":
        raise UsageError(f"a {settings.kind} publishes nothing: {address.parse(settings.url).shown}")
    return Kubo(_client(settings, limits or Limits()))


def open_announcing(settings: OriginSettings, limits: Limits | None = None) -> Announcing:
    """The node as one that announces what it does not hold. Raises UsageError for a kind that announces nothing."""
    if _kind(settings) != "kubo":
        raise UsageError(f"a {settings.kind} announces nothing: {address.parse(settings.url).shown}")
    return Announcing(Rpc(_client(settings, limits or Limits())))


def open_hub(settings: OriginSettings, limits: Limits | None = None) -> HubFiles:
    """A Hub. Nothing is asked yet. Raises UsageError for settings that make no sense."""
    client = _client(settings, limits or Limits())
    return HubFiles(client.address, client.authorization, client.limits)


def open_pin_keeper(settings: OriginSettings, limits: Limits | None = None) -> PinKeeper:
    """Who pins for others: a `cluster` or a `service`. Raises UsageError for settings that make no sense."""
    kinds: dict[str, Callable[[Client], PinKeeper]] = {"cluster": Cluster, "service": PinningService}
    return kinds[settings.kind](_client(settings, limits or Limits()))


def open_ordered(settings: Iterable[OriginSettings], limits: Limits | None = None) -> Ordered:
    """All origins, in this order, each checked and with pauses: `Ordered.origins` are `Paused`, for `status`.

    A gateway on the machine of a node is asked first for what it has at hand: it gives a block for half the processor
    time that the RPC takes, which sends 4 KiB at a time. To search is the node's business. Where holders are found by a
    router, a node without such a gateway is asked first for what it has itself, so that nobody is searched for then.
    """
    listed = list(settings)
    nodes = {_machine(one) for one in listed if one.kind == "kubo"}
    beside = [one for one in listed if one.kind == "gateway" and _machine(one) in nodes]
    quick = [Paused(Checked(AtHand(Gateway(_client(one, limits or Limits()))))) for one in beside]
    if any(one.kind == "routing" for one in listed):
        machines = {_machine(one) for one in beside}
        alone = [one for one in listed if one.kind == "kubo" and _machine(one) not in machines]
        quick += [Paused(Checked(AtNode(Kubo(_client(one, limits or Limits()))))) for one in alone]
    return Ordered([Paused(Checked(open_origin(one, limits))) for one in listed], quick)


def hint(origins: Ordered, root: bytes) -> None:
    """Content below a root is going to be wanted, for those of these origins that look for holders."""
    for paused in origins.origins:
        checked = paused.origin if isinstance(paused, Paused) else paused
        origin = checked.origin if isinstance(checked, Checked) else checked
        if isinstance(origin, Routing):
            origin.hint(root)


def _machine(settings: OriginSettings) -> str:
    """What tells one machine from another, as far as addresses do; empty for this one."""
    at = address.parse(settings.url)
    return "" if at.socket or at.host == "localhost" or at.host.startswith("127.") or at.host == "::1" else at.host


def _kind(settings: OriginSettings) -> str:
    if settings.kind not in KINDS:
        raise UsageError(f"no kind of origin: {settings.kind[:40]!r}", hint="There are " + ", ".join(KINDS) + ".")
    return settings.kind


def _client(settings: OriginSettings, limits: Limits) -> Client:
    at, authorization = settings.checked()
    return Client(f"{settings.kind} {at.shown}", at, authorization, limits)
