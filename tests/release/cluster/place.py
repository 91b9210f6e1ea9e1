"""A namespace of a real API server as a user has it, and the controller.

`TORCHFINCH_ENVTEST` names the folder of `cluster.py`, `KUBEBUILDER_ASSETS` that of the binaries.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from release.cluster.plane import skip, tools
from waiting import within

ROOT = Path(__file__).parents[3]
BIN = Path(sys.executable).parent
NAMED = os.environ.get("TORCHFINCH_KUBECONFIG")
"""The kubeconfig of a cluster of one's own, whose pods kwok makes ready."""
Object = dict[str, Any]


def kubectl_path() -> str:
    """That of the binaries, else the one on the PATH."""
    folders = filter(None, map(os.environ.get, ("KUBEBUILDER_ASSETS", "PATH")))
    return shutil.which("kubectl", path=os.pathsep.join(folders)) or skip("needs kubectl on the PATH")


class Cluster:
    """kubectl for one namespace, as a user has it."""

    named: Path | None = None
    """What `TORCHFINCH_KUBECONFIG` names, its current context alone."""

    def __init__(self, kubeconfig: Path, namespace: str) -> None:
        self.kubeconfig, self.namespace = kubeconfig, namespace
        self._kubectl = kubectl_path()

    @property
    def name(self) -> str:
        """What the kubeconfig calls the cluster."""
        return str(yaml.safe_load(self.kubeconfig.read_text())["clusters"][0]["name"])

    def run(self, *arguments: str, stdin: str = "", timeout: float = 60) -> subprocess.CompletedProcess[str]:
        command = [self._kubectl, "--kubeconfig", str(self.kubeconfig), "--namespace", self.namespace, *arguments]
        return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=timeout, check=False)

    def __call__(self, *arguments: str, stdin: str = "") -> str:
        done = self.run(*arguments, stdin=stdin)
        assert done.returncode == 0, f"{arguments}\n{done.stderr}"
        return done.stdout

    def define(self) -> None:
        """The Gateway API's kinds and our own."""
        self.know("gateway-api", "httproutes")
        self("apply", "--server-side", "-k", str(ROOT / "k8s" / "crd"))
        established = ("wait", "crd/canaryreleases.torchfinch.dev", "--for=condition=Established", "--timeout=30s")
        assert within(30, lambda: self.run(*established).returncode == 0)  # it fails before there are conditions

    def know(self, folder: str, kind: str) -> None:
        """The definitions that come with the binaries; a cluster of one's own has them, or the test is skipped."""
        if self.kubeconfig != Cluster.named:
            self("apply", "--server-side", "-f", str(tools()[1] / "manifests" / folder))
            assert within(30, lambda: self.run("get", kind).returncode == 0)
        elif self.run("get", kind).returncode:
            skip(f"the cluster of TORCHFINCH_KUBECONFIG has no {kind}: apply the definitions of {folder}")

    def get(self, kind: str, name: str = "") -> Object:
        found: Object = json.loads(self("get", kind, *filter(None, [name]), "--output", "json"))
        return found

    def patch(self, kind: str, name: str, change: Object, *options: str) -> None:
        self("patch", kind, name, "--type", "merge", "--patch", json.dumps(change), *options)

    @property
    def weights(self) -> tuple[int, int]:
        stable, canary = self.get("httproute", "digits")["spec"]["rules"][0]["backendRefs"]
        return stable["weight"], canary["weight"]

    def release_version(self, version: str) -> None:
        """What `kubectl set image` does, with the version's label."""
        template = {
            "metadata": {"labels": {"app.kubernetes.io/version": version}},
            "spec": {"containers": [{"name": "server", "image": f"digits:{version}"}]},
        }
        self.patch("deployment", "digits-canary", {"spec": {"template": template}})

    def wait(self, condition: str, *, seconds: int = 60) -> None:
        arguments = ("wait", "canary/digits", f"--for=condition={condition}", f"--timeout={seconds}s")
        done = self.run(*arguments, timeout=seconds + 20)
        assert done.returncode == 0, f"{condition}: {done.stderr}\n{self('get', 'canary', '-o', 'wide')}"


class Controller:
    """`torchfinch controller` with these arguments as a process, which may do whatever its kubeconfig may."""

    program: tuple[str, ...] = (str(BIN / "torchfinch"),)

    def __init__(self, kubeconfig: Path, log: Path, *arguments: str) -> None:
        self._kubeconfig, self._log, self._arguments = kubeconfig, log, arguments
        self.start()

    def start(self) -> None:
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [*self.program, "controller", *self._arguments],
                env={**os.environ, "KUBECONFIG": str(self._kubeconfig)},
                stdout=log,
                stderr=log,
            )

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    @property
    def log(self) -> str:
        return self._log.read_text()

    def lines(self) -> list[Object]:
        """What it wrote to stdout."""
        return [json.loads(line) for line in self.log.splitlines() if line.startswith("{")]
