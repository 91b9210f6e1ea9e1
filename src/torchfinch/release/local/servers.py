"""A release on one machine: two TorchServes, one Envoy, a folder. Nothing else of `release` knows of TorchServe."""

from pathlib import Path

import httpx

from torchfinch.archive import ArchiveInfo, read_archive
from torchfinch.errors import TorchfinchError
from torchfinch.release.adapters import Outcomes
from torchfinch.release.controller import Controller
from torchfinch.release.differ import Differ
from torchfinch.release.local.evidence import EnvoyEvidence
from torchfinch.release.local.router import EnvoyRouter
from torchfinch.release.local.store import FileStore, release_folder
from torchfinch.release.manifest.spec import Manifest, Spec, parse_manifest
from torchfinch.release.state import Role
from torchfinch.serving import Instance, ManagementClient, find_instance, replay, start_instance
from torchfinch.serving.management import READY

_ANSWER_SECONDS = 5.0
"""A server that takes longer to tell its state must not keep the controller from its other work."""
_METRICS_SECONDS = 2.0
_LOADING, _STARTING = 120.0, 60.0
"""Seconds that a worker has to load where the archive does not say, and that TorchServe itself has."""
_WARM_UP = 300
"""Requests after which a JVM has compiled what serving a request runs."""


def read_manifest(path: Path) -> Manifest:
    """Read and check a manifest file.

    Raises:
        TorchfinchError: it cannot be read, or something in it is wrong.
    """
    try:
        return parse_manifest(path.read_text(encoding="utf-8"), source=str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise TorchfinchError(f"{path} cannot be read: {error}", "k8s/local/digits.yaml is an example") from error


class TorchServes:
    """Starts the TorchServe of each slot as the instance `RELEASE-SLOT`."""

    def __init__(self, release: str, *, home: Path) -> None:
        self._release = release
        self._home = home

    def start(self, spec: Spec, slot: str, archive: Path) -> str:
        """Serve `archive` under the release's model name, and return host and port when its workers are READY."""
        info = read_archive(archive)
        instance = start_instance(
            self._name(slot),
            store=archive.parent,
            models={spec.model: archive.name},
            home=self._home,
            timeout=start_seconds(info),
        )
        try:
            _prove(spec, instance, info)
        except BaseException:
            instance.stop()
            raise
        return instance.inference_url.removeprefix("http://")

    def stop(self, slot: str) -> None:
        """End the slot's TorchServe, if there is one."""
        instance = self._find(slot)
        if instance:
            instance.stop()

    def running(self, slot: str) -> bool:
        """Whether the slot's TorchServe is there."""
        return self._find(slot) is not None

    def ready(self, spec: Spec, slot: str) -> int | None:
        """1 if a worker is READY, 0 if none is, None where the management socket does not answer in time.

        One worker of several that starts again is no reason to take a version back.
        """
        instance = self._find(slot)
        if instance is None:
            return 0
        try:
            versions = ManagementClient(instance.socket, timeout=_ANSWER_SECONDS).describe(spec.model)
        except TorchfinchError:
            return None
        return int(any(worker["status"] == READY for version in versions for worker in version["workers"]))

    def label(self, archive: Path) -> str:
        """Name and version, such as `digits 2.0`."""
        return _label(read_archive(archive))

    def metrics(self, slot: str) -> str:
        """The page of TorchServe's metrics.

        Raises:
            TorchfinchError: it does not answer in time.
        """
        instance = self._find(slot)
        if instance is None:
            return ""
        try:
            return httpx.get(instance.metrics_url, timeout=_METRICS_SECONDS, trust_env=False).text
        except httpx.HTTPError as error:
            raise TorchfinchError(f"{instance.name} does not tell its metrics: {type(error).__name__}") from error

    def _find(self, slot: str) -> Instance | None:
        return find_instance(self._name(slot), home=self._home)

    def _name(self, slot: str) -> str:
        return f"{self._release}-{slot}"


def start_seconds(archive: ArchiveInfo) -> float:
    """How long a server of the archive may take until its workers are READY: what it says, and the JVM's own start."""
    told = archive.config.get("startupTimeout")
    return max(told if isinstance(told, int) else 0, _LOADING) + _STARTING


def _prove(spec: Spec, instance: Instance, archive: ArchiveInfo) -> None:
    """Golden requests before any user's: a wrong answer is a failed start, and a cold JVM would be judged slow."""
    if not archive.golden:
        return
    problem = replay(instance.inference_url, spec.model, archive.path, requests=_WARM_UP)
    if problem:
        raise TorchfinchError(f"{_label(archive)} does not answer as its archive promises: {problem}")


def _label(archive: ArchiveInfo) -> str:
    return f"{archive.name} {archive.version}"


def local_router(release: str, *, home: Path) -> EnvoyRouter:
    """The Envoy and the slots of a release on this machine."""
    return EnvoyRouter(release_folder(release, home=home), TorchServes(release, home=home))


def local_controller(
    manifest: Path, *, router: EnvoyRouter, store: FileStore, outcomes: Outcomes | None = None
) -> Controller:
    """The controller of a manifest, which is read again at every turn."""

    def servers(_: Spec, role: Role) -> list[str]:
        table = router.table()
        return [f"http://{table.place(table.slot(role)).address}"]

    return Controller(
        read_spec=lambda: read_manifest(manifest).spec,
        router=router,
        evidence=EnvoyEvidence(router),
        store=store,
        differ=Differ(servers, Path()),
        outcomes=outcomes,
    )
