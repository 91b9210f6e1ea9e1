"""Time until a network knows Fashion-MNIST: the recipe beside a loop as tutorials print it.

    python benchmarks/training.py run [--device cuda] [--seeds 3] [--together 3] [--workers 4] [--epochs 12]

The plain loop: transforms of one PIL image after the other, a DataLoader with batches of 32, Adam at 1e-3, a network
of LeNet's size, until 93.4 % of the validation images are right, or 60 epochs. The recipe: `training/fashion.py`, of
as many epochs as asked for, timed until 93.4 % of the validation images are right; where a seed does not get there,
nothing is said of speed. Each seed is a process of its own;
the test images are looked at once in each, at its end. Beside it the images per second of both loops with the same
small network, the same batch and the same optimizer, rounds interleaved. On a CPU each process has one thread, and
seconds of the CPU are told beside those of the clock.

Hours on a CPU. Writes benchmarks/results/training_DEVICE.json after every process: a list with an entry for each
machine, CPU, state of the code and way to measure. What the entry of this one has already is not measured again; the
others stay as they are.
"""

import hashlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from time import perf_counter, process_time
from typing import Annotated, Any

import torch
import typer
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from torchfinch.evaluation import code_digest
from torchfinch.files import sha256, write_whole
from torchfinch.handler import Preprocessing
from torchfinch.training import Data, Epoch, FitSettings, Images, Optimizer, Schedule, fit, load_recipe

ROOT = Path(__file__).parents[1]
GOAL, LONGEST, ROUNDS = 0.934, 60, 2
GREY = Preprocessing(size=(28, 28), mode="L", mean=(0.286,), std=(0.353,))
LEARNT = transforms.Compose(
    [
        transforms.RandomHorizontalFlip(p=0.5),
        transforms.RandomRotation(degrees=15),
        transforms.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2, hue=0.1),
        transforms.RandomResizedCrop(28, scale=(0.8, 1.0)),
        transforms.ToTensor(),
        transforms.Normalize(GREY.mean, GREY.std),
    ]
)
LOOKED_AT = transforms.Compose([transforms.ToTensor(), transforms.Normalize(GREY.mean, GREY.std)])
app = typer.Typer(add_completion=False)


class LeNet(nn.Sequential):
    """Two convolutions and three linear layers, with LeNet's numbers of channels: 61,706 parameters."""

    def __init__(self) -> None:
        super().__init__(
            *(nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
            *(nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)),
        )


class Photos(Dataset[tuple[Tensor, int]]):
    """One PIL image at a time, as torchvision's data sets give them."""

    def __init__(self, images: Images, transform: Any) -> None:
        self.images, self.transform = images, transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = Image.fromarray(self.images.pixels[index, 0].numpy())
        return self.transform(image), int(self.images.targets[index])


def plain(data: Data, *, epochs: int, device: str, workers: int) -> dict[str, Any]:
    """The loop as tutorials print it."""
    assert data.train
    assert data.validation
    assert data.test
    loader = partial(DataLoader, batch_size=32, num_workers=workers, persistent_workers=workers > 0)
    learnt = loader(Photos(data.train, LEARNT), shuffle=True)
    checked, tested = (loader(Photos(part, LOOKED_AT)) for part in (data.validation, data.test))
    model, criterion = LeNet().to(device), nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    clock, accuracy, epoch = Clock(), 0.0, 0
    while accuracy < GOAL and epoch < epochs:
        model.train()
        epoch, began = epoch + 1, perf_counter()
        for pixels, targets in learnt:
            optimizer.zero_grad()
            loss = criterion(model(pixels.to(device)), targets.to(device))
            loss.backward()
            optimizer.step()
            loss.item()
        rate = len(data.train) / (perf_counter() - began)
        accuracy = right(model, checked, device)
        print(f"plain: epoch {epoch}, {accuracy:.4f}, {rate:.0f} images/s", file=sys.stderr, flush=True)
    return {
        **clock.read(),
        "reached": accuracy >= GOAL,
        "epochs": epoch,
        "validation_accuracy": accuracy,
        "test_accuracy": right(model, tested, device) if epochs == LONGEST else None,
        "images_per_second": rate,
    }


@torch.inference_mode()
def right(model: nn.Module, batches: DataLoader[tuple[Tensor, int]], device: str) -> float:
    """The share of images whose class the model names."""
    model.eval()
    hits = [(model(pixels.to(device)).argmax(1).cpu() == targets) for pixels, targets in batches]
    return float(torch.cat(hits).double().mean())


def recipe(seed: int, *, epochs: int, device: str) -> dict[str, Any]:
    """The recipe, until it gets there and then to its end."""
    fashion = load_recipe(str(ROOT / "training" / "fashion.py"))
    config = fashion.configure({"seed": seed, "device": device, "epochs": epochs})
    torch.manual_seed(seed)
    data, model, preprocessing = fashion.build(config)
    clock, there = Clock(), list[tuple[int, dict[str, float]]]()

    def look(epoch: Epoch) -> None:
        if (epoch.validation_accuracy or 0) >= GOAL:
            there.append((epoch.epoch, clock.read()))

    history = fit(model, data, preprocessing=preprocessing, settings=config, told=look)  # type: ignore[arg-type]
    whole = clock.read()
    assert data.test
    pixels = data.test.pixels.split(500)
    with torch.inference_mode():
        scores = torch.cat([model(preprocessing.normalise(each.to(device))).cpu() for each in pixels])
    reached, taken = there[0] if there else (epochs, whole)
    return {
        **taken,
        "reached": bool(there),
        "epochs": reached,
        "whole": {"epochs": epochs, **whole},
        "validation_accuracy": history[-1].validation_accuracy,
        "test_accuracy": float((scores.argmax(1) == data.test.targets).double().mean()),
        "images_per_second": history[-1].images_per_second,
        "parameters": sum(each.numel() for each in model.parameters()),
    }


def lenet(data: Data, *, device: str) -> dict[str, Any]:
    """One epoch of LeNet in torchfinch's loop, with the plain loop's batch and optimizer."""
    settings = FitSettings(
        epochs=1,
        batch_size=32,
        learning_rate=1e-3,
        weight_decay=0,
        device=device,
        optimizer=Optimizer(name="adam"),
        schedule=Schedule(name="constant"),
        warm_up=0,
    )
    [epoch] = fit(LeNet(), data, preprocessing=GREY, settings=settings)
    return {"images_per_second": epoch.images_per_second}


class Clock:
    """Seconds since it was made: of the clock, and of this process on the CPU."""

    def __init__(self) -> None:
        self._began = perf_counter(), process_time()

    def read(self) -> dict[str, float]:
        return {"seconds": perf_counter() - self._began[0], "cpu_seconds": process_time() - self._began[1]}


@app.command()
def one(kind: str, seed: int, device: str, workers: int, epochs: int) -> None:
    """One process of the benchmark; prints what it measured."""
    if device == "cpu":
        torch.set_num_threads(1)
    torch.manual_seed(seed)
    fashion = load_recipe(str(ROOT / "training" / "fashion.py"))
    data, _, _ = fashion.build(fashion.configure())
    kinds: dict[str, Callable[[], dict[str, Any]]] = {
        "plain": lambda: plain(data, epochs=LONGEST, device=device, workers=workers),
        "recipe": lambda: recipe(seed, epochs=epochs, device=device),
        "plain-lenet": lambda: plain(data, epochs=1, device=device, workers=workers),
        "recipe-lenet": lambda: lenet(data, device=device),
    }
    print(json.dumps({"kind": kind, "seed": seed, **kinds[kind]()}))


@app.command()
def run(
    device: str = "cpu",
    seeds: int = 3,
    together: Annotated[int, typer.Option(help="Processes of one kind at a time.")] = 1,
    workers: Annotated[int, typer.Option(help="Of the plain loop's DataLoader.")] = 0,
    epochs: Annotated[int, typer.Option(help="Of the recipe.")] = 18,
) -> None:
    """The whole benchmark, or what is missing of it."""
    path = ROOT / "benchmarks" / "results" / f"training_{device}.json"
    asked = {"goal": GOAL, "together": together, "workers": workers, "recipe": epochs}
    asked |= {"machine": machine(device), "cpu": cpu(), "code": code()}
    results: list[dict[str, Any]] = json.loads(path.read_text()) if path.exists() else []
    result = next((each for each in results if asked.items() <= each.items()), None)
    if result is None:
        results.append(result := {"runs": [], **asked})
    known = {(row["kind"], row["seed"]) for row in result["runs"]}
    rounds = [[(kind, seed)] for seed in range(ROUNDS) for kind in ("plain-lenet", "recipe-lenet")]
    for kind in ("recipe", "plain"):
        left = [(kind, seed) for seed in range(seeds) if (kind, seed) not in known]
        rounds += [left[first : first + together] for first in range(0, len(left), together)]
    for jobs in rounds:
        new = [job for job in jobs if job not in known]
        result["runs"] += measured(new, device=device, workers=workers, epochs=epochs)
        write_whole(path, json.dumps(results, indent=1) + "\n")
    result |= compared(result["runs"], "cpu_seconds" if device == "cpu" else "seconds")
    write_whole(path, json.dumps(results, indent=1) + "\n")
    print(f"{claim(result)}; the same network {result['same_network_times_faster']:.1f} times")


def claim(result: dict[str, Any]) -> str:
    """What may be said of the recipe's speed."""
    if result["times_faster"] is None:
        return "no claim: the recipe did not get there with every seed"
    low, high = result["times_faster_from_to"]
    return f"{result['times_faster']:.1f} times faster ({low:.1f} to {high:.1f} by the pair of seeds)"


def compared(rows: list[dict[str, Any]], measure: str) -> dict[str, Any]:
    """How much less time the recipe takes, in the worst and the best pair of seeds, and the rates of the same network.

    The first is claimed, where the recipe gets there with every seed. The time of a plain loop that does not get there
    is a lower bound.
    """
    by_kind = {kind: [row for row in rows if row["kind"] == kind] for kind in sorted({row["kind"] for row in rows})}
    for row in (*by_kind["recipe"], *by_kind["plain"]):
        took = f"{row[measure]:7.1f} s" if row["reached"] else f"not within {row[measure]:.1f} s"
        print(f"{row['kind']:7} seed {row['seed']}: {took}, {row['test_accuracy']:.4f} of the test images")
    rates = {kind: max(row["images_per_second"] for row in by_kind[kind]) for kind in ("plain-lenet", "recipe-lenet")}
    times = {kind: [row[measure] for row in by_kind[kind]] for kind in ("plain", "recipe")}
    span = min(times["plain"]) / max(times["recipe"]), max(times["plain"]) / min(times["recipe"])
    there = all(row["reached"] for row in by_kind["recipe"])
    return {
        "times_faster": span[0] if there else None,
        "times_faster_from_to": span if there else None,
        "same_network_times_faster": rates["recipe-lenet"] / rates["plain-lenet"],
    }


def measured(jobs: Sequence[tuple[str, int]], *, device: str, workers: int, epochs: int) -> list[dict[str, Any]]:
    """What each job's process printed; all run at once."""
    rest = [device, str(workers), str(epochs)]
    commands = [[sys.executable, __file__, "one", kind, str(seed), *rest] for kind, seed in jobs]
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}
    running = [subprocess.Popen(each, stdout=subprocess.PIPE, env=environment, text=True) for each in commands]
    rows = [json.loads(process.communicate()[0]) for process in running]
    for row in rows:
        print(json.dumps(row), file=sys.stderr, flush=True)
    return rows


def machine(device: str) -> str:
    name = torch.cuda.get_device_properties(0).name if device.startswith("cuda") else platform.machine()
    return f"{name}, {os.cpu_count()} cores, torch {torch.__version__}"


def cpu() -> str:
    """The model of the processor, where the kernel tells it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.processor())


def code() -> str:
    """SHA-256 of all that is measured: this file, the recipe, the loop, and what is done to an image."""
    package = ROOT / "src" / "torchfinch"
    files = [Path(__file__), package / "handler" / "preprocessing.py", *sorted((package / "training").glob("*.py"))]
    digests = [code_digest(ROOT / "training" / "fashion.py"), *map(sha256, files)]
    return hashlib.sha256("".join(digests).encode()).hexdigest()


if __name__ == "__main__":
    app()
