"""`torchfinch predict` and `explain`: ask a running server about images."""

import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from torchfinch.console import err, out, progress, table
from torchfinch.errors import TorchfinchError

if TYPE_CHECKING:
    from torchfinch.serving import Instance

_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
Server = Annotated[str, typer.Option("--name", help="Which server.")]
Url = Annotated[str | None, typer.Option(help="Address of a server started otherwise, or of a router.")]
Model = Annotated[str | None, typer.Option(help="The model; may be left out when the server has only one.")]


def predict(
    images: Annotated[list[Path], typer.Argument(help="Images, or folders of images.", show_default=False)],
    model: Model = None,
    name: Server = "default",
    url: Url = None,
    top_k: Annotated[str | None, typer.Option(help="Labels to show: a number, or all.")] = None,
    csv_file: Annotated[Path | None, typer.Option("--csv", help="Write a CSV file; - for standard output.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per image and line.")] = False,
) -> None:
    """Classify images; one that fails has its error in its row, and the exit code is 1."""
    from torchfinch.serving import Client

    paths = list(_files(images))
    url, model = _where(name, url, model)
    rows: list[dict[str, Any]] = []
    with Client(url) as client, progress() as bar:
        for path in bar.track(paths, description=model):
            rows.append(_ask(client, model, path, top_k))
            if as_json:
                print(json.dumps(rows[-1], ensure_ascii=False), flush=True)
    if csv_file:
        _write_csv(rows, csv_file)
    elif not as_json:
        out.print(table(("image", "class", "label", "confidence", "also"), map(_cells, rows)))
    failed = sum("error" in row for row in rows)
    if failed:
        err.print(f"{failed} of {len(rows)} images failed")
        raise typer.Exit(1)


def explain(
    image: Annotated[Path, typer.Argument(help="The image.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="The PNG to write; .json for the numbers.")] = Path(
        "heatmap.png"
    ),
    model: Model = None,
    name: Server = "default",
    url: Url = None,
    method: Annotated[str | None, typer.Option(help="integrated_gradients, saliency, occlusion or grad_cam.")] = None,
    target: Annotated[
        int | None, typer.Option(min=0, help="The class to explain; the predicted one if not given.")
    ] = None,
) -> None:
    """Write a heatmap of what the answer rests on."""
    from torchfinch.files import write_whole
    from torchfinch.serving import Client

    [path] = _files([image])
    url, model = _where(name, url, model)
    with Client(url) as client:
        answer = client.explain(model, path.read_bytes(), method=method, target=target, png=output.suffix != ".json")
    if answer.problem:
        raise TorchfinchError(f"{image}: {answer.problem}")
    write_whole(output, answer.body)
    print(output)


def _files(images: list[Path]) -> Iterator[Path]:
    for path in images:
        if path.is_dir():
            found = sorted(file for file in path.rglob("*") if file.suffix.lower() in _SUFFIXES)
            if not found:
                raise TorchfinchError(f"there is no image in {path}", f"known are {' '.join(sorted(_SUFFIXES))}")
            yield from found
        elif path.is_file():
            yield path
        else:
            raise TorchfinchError(f"there is no file {path}", "name an image or a folder of images")


def _where(name: str, url: str | None, model: str | None) -> tuple[str, str]:
    from torchfinch.cli.serve import find

    if url:
        if model is None:
            raise TorchfinchError("with --url the model must be named", "--model digits")
        return url, model
    instance = find(name)
    return instance.inference_url, model or only_model(instance)


def only_model(instance: "Instance") -> str:
    """The one model of a server.

    Raises:
        TorchfinchError: it has several, or none.
    """
    models = instance.management.models()
    if len(models) != 1:
        raise TorchfinchError(f"the server has {', '.join(models) or 'no models'}", "choose with --model")
    return models[0]


def _ask(client: Any, model: str, path: Path, top_k: str | None) -> dict[str, Any]:
    try:
        body = path.read_bytes()
    except OSError as error:
        return {"image": str(path), "error": str(error.strerror)}
    answer = client.predict(model, body, top_k=top_k)
    if answer.problem:
        return {"image": str(path), "error": answer.problem}
    content = answer.content
    return {"image": str(path), **(content if isinstance(content, dict) else {"answer": content})}


def _cells(row: dict[str, Any]) -> tuple[object, ...]:
    if "error" in row:
        return (row["image"], None, row["error"], None, None)
    if "label" not in row:
        return (row["image"], None, json.dumps(row)[:80], None, None)
    others = [f"{label} {p:.1%}" for label, p in row["probabilities"].items() if label != row["label"]]
    return (row["image"], row["predicted_class"], row["label"], f"{row['confidence']:.1%}", ", ".join(others[:3]))


def _write_csv(rows: list[dict[str, Any]], path: Path) -> None:
    from torchfinch.files import replacing

    def write(stream: Any) -> None:
        writer = csv.DictWriter(
            stream, ["image", "predicted_class", "label", "confidence", "error"], extrasaction="ignore"
        )
        writer.writeheader()
        writer.writerows(rows)

    if str(path) == "-":
        write(sys.stdout)
        return
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        write(stream)
    err.print(f"wrote {path}")
