"""A control plane of etcd, API server and controllers, and the tools that start it."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import psutil
import pytest

MISSING = (
    "needs a control plane: set TORCHFINCH_ENVTEST to the folder of cluster.py, which starts it, and"
    " KUBEBUILDER_ASSETS to that of its binaries. `setup-envtest use -p path` gets kube-apiserver, etcd and kubectl and"
    " prints their folder (go install sigs.k8s.io/controller-runtime/tools/setup-envtest@latest);"
    " kube-controller-manager, kube-scheduler, kwok and envoy-gateway come from their own releases. Or set"
    " TORCHFINCH_KUBECONFIG to a cluster of your own whose pods kwok makes ready: kwokctl create cluster"
)


def tools() -> tuple[Path, Path]:
    """The folders of `cluster.py` and of the binaries; else the test is skipped, or fails where it must run."""
    envtest, assets = os.environ.get("TORCHFINCH_ENVTEST"), os.environ.get("KUBEBUILDER_ASSETS")
    if envtest and assets:
        return Path(envtest), Path(assets)
    return skip(MISSING)


def skip(reason: str) -> NoReturn:
    """Skip the test, or fail it where it must run."""
    if os.environ.get("TORCHFINCH_REQUIRE_CLUSTER"):
        pytest.fail(reason)
    pytest.skip(reason)


class ControlPlane:
    """What `cluster.py` starts: etcd, the API server, controllers, a scheduler, and kwok for the pods."""

    def __init__(self, data: Path) -> None:
        envtest, _ = tools()
        self.kubeconfig = data / "kubeconfig"
        self._data = data
        command = [sys.executable, str(envtest / "cluster.py"), "up", str(data)]
        self._all = subprocess.Popen(
            [*command, "--with", "controllers", "--with", "kwok"], stdout=subprocess.PIPE, text=True
        )
        self._server: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Path:
        assert self._all.stdout
        started = "KUBECONFIG" in self._all.stdout.readline()
        if not started:
            self.__exit__()
        assert started
        return self.kubeconfig

    def __exit__(self, *_: object) -> None:
        if self._server:
            self._server.kill()
            self._server.wait()
        self._all.send_signal(signal.SIGTERM)
        assert self._all.stdout
        self._all.stdout.close()
        self._all.wait(60)

    def kill_api_server(self) -> None:
        children = psutil.Process(self._all.pid).children(recursive=True)
        server = next(child for child in children if Path(child.cmdline()[0]).name == "kube-apiserver")
        self._command = server.cmdline()
        server.kill()

    def start_api_server(self) -> None:
        """The same again, on the same port and the same data."""
        with (self._data / "kube-apiserver.log").open("ab") as log:
            self._server = subprocess.Popen(self._command, cwd=self._data, stdout=log, stderr=log)
