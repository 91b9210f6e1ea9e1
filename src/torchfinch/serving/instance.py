"""One TorchServe on this machine: a process with ports, logs and temporary files of its own."""

import json
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from torchfinch.errors import TorchfinchError
from torchfinch.files import write_whole
from torchfinch.project import project_file
from torchfinch.serving import config, launch, logs, process
from torchfinch.serving.management import ManagementClient
from torchfinch.serving.properties import render

DEFAULT = "default"
"""The instance that listens where `config.properties` says; others get free ports."""
HOME = Path(".torchfinch")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_GRPC = ("inference", "management")
_DEFAULTS = {
    "inference_address": "http://127.0.0.1:8080",
    "metrics_address": "http://127.0.0.1:8082",
    "grpc_inference_address": "127.0.0.1",
    "grpc_inference_port": "7070",
    "grpc_management_address": "127.0.0.1",
    "grpc_management_port": "7071",
}
"""Where TorchServe listens unless it is told otherwise."""
_LONGEST_FOLDER = 80  # a unix socket's path ends at 107 characters, and TorchServe adds names to this


@dataclass(frozen=True, kw_only=True)
class Instance:
    """A TorchServe that was started; what it is is kept in its folder, so that any process can find it."""

    name: str
    folder: Path
    pid: int
    started: int
    inference_url: str
    metrics_url: str
    socket: Path
    store: Path
    gpus: int = 0
    """How many GPUs it found when it started."""

    @property
    def management(self) -> ManagementClient:
        """Its management API."""
        return ManagementClient(self.socket)

    @property
    def log(self) -> Path:
        """The file it writes to."""
        return self.folder / "logs" / "server.log"

    @property
    def alive(self) -> bool:
        """Whether its process still runs."""
        return process.is_same(self.pid, self.started)

    def stop(self, *, timeout: float = 30) -> None:
        """End it and its workers; a request in flight after `timeout` seconds is lost."""
        process.end(self.pid, self.started, timeout=timeout)
        shutil.rmtree(self.socket.parent, ignore_errors=True)
        (self.folder / "instance.json").unlink(missing_ok=True)


def find_instance(name: str, *, home: Path = HOME) -> Instance | None:
    """The running instance of this name, or `None`."""
    try:
        content: dict[str, Any] = json.loads((home / "servers" / name / "instance.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    paths = {key: Path(content[key]) for key in ("folder", "socket", "store")}
    instance = Instance(**{**content, **paths})
    return instance if instance.alive else None


def list_instances(*, home: Path = HOME) -> list[Instance]:
    """All running instances, by name."""
    names = sorted(path.name for path in (home / "servers").glob("*"))
    return [instance for instance in (find_instance(name, home=home) for name in names) if instance]


def start_instance(
    name: str,
    *,
    store: Path,
    models: Mapping[str, str],
    properties: Path | None = None,
    home: Path = HOME,
    port: int | None = None,
    timeout: float = 180,
) -> Instance:
    """Start TorchServe with `models` (name to archive in `store`) and return when every worker is READY.

    The instance called `DEFAULT` listens where the properties file says, every other one on free ports, or both on
    `port` for inference if it is given. `timeout` in seconds.

    Raises:
        TorchfinchError: it runs already, a port is taken, or a model does not load; then the worker's first traceback,
            if it wrote one, is in the message, and nothing is left running.
    """
    if not _NAME.fullmatch(name):
        raise TorchfinchError(f"the server name {name!r} is also a folder's name", "use letters, digits, _ - and .")
    if find_instance(name, home=home):
        raise TorchfinchError(f"the server {name} runs already", f"torchfinch serve --stop --name {name}")
    for archive in models.values():
        if not (store / archive).is_file():
            raise TorchfinchError(f"there is no {store / archive}", "torchfinch train or torchfinch pack makes one")
    folder = (home / "servers" / name).resolve()
    file = properties or project_file("config.properties")
    instance = _launch(name, file, store=store.resolve(), models=models, folder=folder, port=port)
    try:
        _record(instance)
        _wait(instance, models, timeout)
        instance = replace(instance, gpus=logs.gpus(instance.log))
        _record(instance)
        management = ManagementClient(instance.socket, timeout=timeout)
        for model in models:
            management.use_gpus(model, instance.gpus, anew=len(models) > 1)
    except BaseException:
        instance.stop(timeout=5)
        raise
    return instance


def _launch(
    name: str, file: Path, *, store: Path, models: Mapping[str, str], folder: Path, port: int | None
) -> Instance:
    """The process in a new `folder`, with the properties of `file` as an instance has them."""
    _forget(folder)
    folder.mkdir(parents=True, mode=0o700)
    with _runtime(folder) as runtime:
        settings = _settings(name, file, store=store, runtime=runtime, port=port)
        write_whole(folder / "config.properties", settings.text)
        child = launch.launch(folder, runtime=runtime, store=store, models=models)
    return Instance(
        name=name,
        folder=folder,
        pid=child.pid,
        started=process.started_at(child.pid),
        inference_url=settings.inference_url,
        metrics_url=settings.metrics_url,
        socket=settings.socket,
        store=store,
    )


def _forget(folder: Path) -> None:
    """Remove what the last server of this name left, should it have been killed: its temporary files are elsewhere."""
    with suppress(OSError, ValueError, KeyError):
        socket = json.loads((folder / "instance.json").read_text(encoding="utf-8"))["socket"]
        shutil.rmtree(Path(socket).parent, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)


def _record(instance: Instance) -> None:
    write_whole(instance.folder / "instance.json", json.dumps(asdict(instance), default=str))


@contextmanager
def _runtime(folder: Path) -> Iterator[Path]:
    """The server's folder for temporary files and sockets, whose paths must be short; it goes if the block fails."""
    runtime = folder / "run"
    if len(str(runtime)) > _LONGEST_FOLDER:
        runtime = Path(tempfile.mkdtemp(prefix="torchfinch-"))
    runtime.mkdir(mode=0o700, exist_ok=True)
    try:
        yield runtime
    except BaseException:
        shutil.rmtree(runtime, ignore_errors=True)
        raise


@dataclass(frozen=True)
class _Settings:
    text: str
    inference_url: str
    metrics_url: str
    socket: Path


def _settings(name: str, file: Path, *, store: Path, runtime: Path, port: int | None) -> _Settings:
    base = {key: config.expand(value) for key, value in config.read_properties(file).items()}
    merged = {**_DEFAULTS, **base}
    overrides = {
        "model_store": str(store),
        "allowed_urls": f"file://{store}/.*",
        "management_address": f"unix:{runtime / 'management.sock'}",
        "use_native_io": "true",
    }
    if name != DEFAULT or port:
        inference, metrics, *grpc = config.free_ports(4)
        overrides |= {
            "inference_address": config.with_port(merged["inference_address"], port or inference),
            "metrics_address": config.with_port(merged["metrics_address"], metrics),
            **{f"grpc_{kind}_port": str(number) for kind, number in zip(_GRPC, grpc, strict=True)},
        }
    merged |= overrides
    merged.pop("load_models", None)
    inference_url, metrics_url = merged["inference_address"], merged["metrics_address"]
    for address in addresses(merged):
        config.check_free(address)
    return _Settings(render(merged), inference_url, f"{metrics_url}/metrics", runtime / "management.sock")


def addresses(properties: Mapping[str, str]) -> tuple[str, ...]:
    """Where a server of these properties listens: for inference, metrics, and gRPC inference and management."""
    merged = {**_DEFAULTS, **properties}
    grpc = (f"//{merged[f'grpc_{kind}_address']}:{merged[f'grpc_{kind}_port']}" for kind in _GRPC)
    return (merged["inference_address"], merged["metrics_address"], *grpc)


def _wait(instance: Instance, models: Mapping[str, str], timeout: float) -> None:
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        if not instance.alive:
            raise TorchfinchError(f"TorchServe ended at once: {logs.tail(instance.folder)}", "torchfinch doctor")
        if _all_ready(instance, models):
            return
        refused = _refused(instance, models)
        if refused:
            raise TorchfinchError(
                f"TorchServe refused {', '.join(refused)}: {logs.tail(instance.folder)}",
                "torchfinch inspect ARCHIVE looks into it",
            )
        failure = logs.loading_failure(instance.log)
        if failure:
            raise TorchfinchError(f"a model does not load:\n{failure}", "torchfinch verify ARCHIVE runs it alone")
        dying = logs.dying(instance.log)
        if dying:
            raise TorchfinchError(
                f"{dying} does not load: its workers end without a traceback, as by sys.exit or a crash in native code",
                "torchfinch verify ARCHIVE runs it alone",
            )
        time.sleep(0.2)
    raise TorchfinchError(f"not ready after {timeout:g} s: {logs.tail(instance.folder)}", f"see {instance.log}")


def _refused(instance: Instance, models: Mapping[str, str]) -> list[str]:
    """Models that TorchServe gave up: it registers them all before its socket answers."""
    try:
        return sorted(set(models) - set(instance.management.models())) if instance.socket.exists() else []
    except TorchfinchError:
        return []


def _all_ready(instance: Instance, models: Mapping[str, str]) -> bool:
    try:
        return instance.socket.exists() and all(instance.management.ready(model) for model in models)
    except TorchfinchError:
        return False
