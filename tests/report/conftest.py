"""Folders as training, load tests and releases leave them; the release is driven by the real controller."""

import json
import math
import random
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from torchfinch.release.manifest.spec import Spec
from torchfinch.release.simulation.simulated import World
from torchfinch.release.state import Arm, Phase

LABELS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
START = 1_764_000_000.0


def make_run(folder: Path, *, labels: Sequence[str] = LABELS, epochs: int = 20) -> Path:
    """A run folder of a small network that was fitted well."""
    folder.mkdir(parents=True)
    chance = random.Random(4)
    matrix = [[44 if truth == answer else 0 for answer in range(len(labels))] for truth in range(len(labels))]
    for truth, answer in ((8, 1), (8, 1), (3, 5), (9, 3), (4, 9)):
        if max(truth, answer) < len(labels):
            matrix[truth][answer] += 1
            matrix[truth][truth] -= 1
    per_class = {
        label: {
            "precision": row[truth] / sum(line[truth] for line in matrix),
            "recall": row[truth] / sum(row),
            "support": sum(row),
        }
        for truth, (label, row) in enumerate(zip(labels, matrix, strict=True))
    }  # fmt: skip
    for metrics in per_class.values():
        both = metrics["precision"] + metrics["recall"]
        metrics["f1"] = 2 * metrics["precision"] * metrics["recall"] / both if both else 0.0
    samples = sum(map(sum, matrix))
    accuracy = sum(row[place] for place, row in enumerate(matrix)) / samples
    history = [
        {
            "epoch": epoch,
            "train_loss": 2.1 * math.exp(-epoch / 3) + 0.02 + chance.random() * 0.01,
            "validation_loss": 2.0 * math.exp(-epoch / 2.8) + 0.05 + chance.random() * 0.02,
            "train_accuracy": 1 - 0.7 * math.exp(-epoch / 2.2),
            "validation_accuracy": 0.989 - 0.6 * math.exp(-epoch / 2) + chance.random() * 0.004,
            "learning_rate": 0.003 * math.cos(epoch / epochs * math.pi / 2),
            "seconds": 0.41,
            "data_seconds": 0.0625,
            "class_accuracy": [1.0, None, *([0.99] * (len(labels) - 4)), 0.9, 0.8],
            "images_per_second": 2800.0,
        }
        for epoch in range(1, epochs + 1)
    ]
    described = {
        "network": {"class": "DigitsNet", "arguments": {"channels": 32, "classes": len(labels)}},
        "labels": list(labels),
        "preprocessing": {"size": [8, 8], "mode": "L", "interpolation": "bilinear", "mean": [0.306], "std": [0.376]},
        "top_k": 5,
        "lineage": {
            "recipe": "digits",
            "metrics": {"test_accuracy": accuracy},
            "data_digest": "9f2c1b7a" * 8,
            "git_revision": "82804d4",
            "seed": 0,
            "config": {"epochs": epochs, "batch_size": 64, "learning_rate": 0.003, "keep": "best"},
            "torch": "2.10.0",
        },
    }
    evaluation = {
        "labels": list(labels), "samples": samples, "accuracy": accuracy, "cross_entropy": 0.04,
        "confusion_matrix": matrix, "per_class": per_class,
    }  # fmt: skip
    (folder / "model.json").write_text(json.dumps(described))
    (folder / "evaluation.json").write_text(json.dumps(evaluation))
    (folder / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in history))
    return folder


HISTORY = (
    "Timestamp,User Count,Type,Name,Requests/s,Failures/s,50%,66%,75%,80%,90%,95%,98%,99%,99.9%,99.99%,100%,"
    "Total Request Count,Total Failure Count,Total Median Response Time,Total Average Response Time,"
    "Total Min Response Time,Total Max Response Time,Total Average Content Size\n"
)


def make_load(folder: Path) -> Path:
    """A load test's folder, two versions having answered."""
    folder.mkdir(parents=True)
    numbers = {"requests": 5210, "failures": 3, "error_rate": 3 / 5210, "throughput": 173.4, "mean": 45.2}
    other = {"requests": 320, "failures": 0, "error_rate": 0.0, "throughput": 10.6}
    summary = {
        "url": "http://127.0.0.1:8080", "model": "digits", "users": 8, "seconds": 30.0, "interrupted": False,
        **numbers, "p50": 42.0, "p95": 71.5, "p99": 118.0,
        "versions": {
            "1.0": {**numbers, "requests": 4890, "p50": 42.5, "p95": 72.0, "p99": 119.0},
            "2.0": {**numbers, **other, "p50": 36.0, "p95": 61.0, "p99": 83.0},
        },
        "reasons": [{"name": "digits@1.0", "reason": "HTTP 503: the queue is full; try again", "count": 3}],
        "limits": [
            {"name": "p95", "limit": 500.0, "value": 71.5, "ok": True},
            {"name": "errors", "limit": 0.01, "value": 3 / 5210, "ok": True},
            {"name": "throughput", "limit": 200.0, "value": 173.4, "ok": False},
        ],
    }  # fmt: skip
    (folder / "summary.json").write_text(json.dumps(summary))
    chance, total, lines = random.Random(1), 0, []
    for second in range(31):
        total += round(170 + chance.gauss(0, 9)) if second else 0
        p50, p95 = ("N/A", "N/A") if second == 0 else (40 + chance.randint(0, 4), 66 + chance.randint(0, 12))
        lines.append(
            f"{int(START) + second},8,,Aggregated,170,0,{p50},0,0,0,0,{p95},0,0,0,0,0,{total},0,42,45,3,130,94\n"
        )
    (folder / "history.csv").write_text(HISTORY + "".join(lines))
    return folder


ERRORS = {"digits 1.0": 0.001, "digits 2.0": 0.001, "digits 3.0": 0.09}
LATENCIES = {"digits 1.0": 0.045, "digits 2.0": 0.038, "digits 3.0": 0.31}


def make_release(folder: Path, *, versions: Sequence[str] = ("digits 2.0", "digits 3.0")) -> Path:
    """A release folder as the real controller leaves it: each version offered in turn, the broken 3.0 rolled back."""
    spec = Spec.model_validate(
        {
            "model": "digits",
            "route": {"port": 8080},
            "steps": [{"weight": 5}, {"weight": 25}, {"weight": 50}],
            "analysis": {"interval": "3s"},
        }
    )
    chance = random.Random(2)
    first = Arm(digest="digits 1.0", label="digits 1.0", running=True, ready=1)
    world = World(now=START, offered="", stable=first)
    controller = world.controller(spec)

    def pass_time(seconds: float) -> None:
        world.now += seconds
        world.serve(round(60 * seconds), error_rate=ERRORS, latency=LATENCIES, random=chance)

    controller.tick()
    for version in versions:
        pass_time(20)
        world.offered = version
        controller.run(until=lambda tick: tick.outcome in {Phase.PROMOTED, Phase.ROLLED_BACK}, sleep=pass_time)
    folder.mkdir(parents=True)
    (folder / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in world.history))
    return folder


def make_image(path: Path, *, size: tuple[int, int] = (80, 60)) -> Path:
    """A picture with a soft light in it, like a heatmap."""
    image = Image.new("RGB", size)
    for x in range(size[0]):
        for y in range(size[1]):
            near = math.exp(-((x / size[0] - 0.5) ** 2 + (y / size[1] - 0.45) ** 2) * 14)
            image.putpixel((x, y), (round(40 + 215 * near), round(30 + 120 * near), round(90 * (1 - near))))
    image.save(path)
    return path


@pytest.fixture(scope="session")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything a report can show, where the report looks for it; made once, to be copied."""
    folder = tmp_path_factory.mktemp("everything")
    make_run(folder / "runs" / "digits")
    make_load(folder / "reports" / "loadtest")
    make_release(folder / ".torchfinch" / "releases" / "digits")
    make_image(folder / "heatmap.png")
    return folder


@pytest.fixture
def project(everything: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder of one's own with everything in it."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(everything, tmp_path, dirs_exist_ok=True)
    return tmp_path
