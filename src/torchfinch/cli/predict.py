"""`torchfinch predict` and `explain`: ask a running server about images."""

import csv
import json
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from torchfinch.console import err, out, progress, table
from torchfinch.errors import TorchfinchError

if TYPE_CHECKING:
    from torchfinch.serving import Client, Instance

_IN_VAIN = 5
"""So many images after each other without an answer end it: each takes as long as the longest wait."""
_CLASS = ("predicted_class", "label", "confidence")
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
    rows: list[_Row] = []
    with Client(url) as client, progress() as bar, suppress(KeyboardInterrupt):
        task = bar.add_task(model, total=len(paths))
        for row in _asked(client, model, paths, top_k):
            rows.append(row)
            bar.advance(task)
            if as_json:
                print(json.dumps(row.line, ensure_ascii=False), flush=True)
    if csv_file:
        _write_csv(rows, csv_file)
    elif not as_json:
        out.print(table(("image", "class", "label", "confidence", "also"), (row.cells for row in rows)))
    failed, left = sum(row.error is not None for row in rows), len(paths) - len(rows)
    if failed:
        err.print(f"{failed} of {len(rows)} images failed")
    if left:
        err.print(f"{left} of {len(paths)} images were not asked about")
    if failed or left:
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

    path, *others = _files([image])
    if others:
        raise TorchfinchError(f"{image} has {1 + len(others)} images, and one is explained at a time", f"name {path}")
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


@dataclass(frozen=True)
class _Row:
    """What came of one image: the answer, or why there is none."""

    image: str
    answer: Any = None
    error: str | None = None
    answered: bool | None = None
    """Whether a server said anything of it; None where it was not asked."""

    @property
    def line(self) -> dict[str, Any]:
        """For JSON: the answer's own fields beside the image."""
        if self.error is not None:
            return {"image": self.image, "error": self.error}
        return {"image": self.image, **(self.answer if isinstance(self.answer, dict) else {"answer": self.answer})}

    @property
    def columns(self) -> dict[str, Any]:
        """For CSV: a classifier's class, a regressor's numbers, any other answer as JSON; of an error nothing."""
        if self.error is not None:
            return {}
        fields = self.answer if isinstance(self.answer, dict) else {}
        if fields.keys() >= set(_CLASS):
            return {key: fields[key] for key in _CLASS}
        numbers = fields.get("values")
        return numbers if isinstance(numbers, dict) else {"answer": json.dumps(self.answer, ensure_ascii=False)}

    @property
    def cells(self) -> tuple[object, ...]:
        """For the table: image, class, label, confidence and other classes, or the first words of what there is."""
        if not self.columns.keys() >= set(_CLASS):
            return (self.image, None, self.error or json.dumps(self.answer, ensure_ascii=False)[:80], None, None)
        number, label, confidence = (self.answer[key] for key in _CLASS)
        found = self.answer.get("probabilities")
        shares = found.items() if isinstance(found, dict) else ()
        others = [f"{name} {_percent(share)}" for name, share in shares if name != label]
        return (self.image, number, label, _percent(confidence), ", ".join(others[:3]))


def _percent(share: object) -> str:
    return f"{share:.1%}" if isinstance(share, int | float) else str(share)


def _asked(client: "Client", model: str, paths: list[Path], top_k: str | None) -> Iterator[_Row]:
    """A row for each image, until the server is plainly gone."""
    known, vain = False, 0
    for path in paths:
        row = _ask(client, model, path, top_k, first=not known)
        yield row
        known = known or bool(row.answered)
        vain = vain + (row.answered is False) if not row.answered else 0
        if vain == _IN_VAIN:
            err.print(f"no answer to {_IN_VAIN} images in a row: the server is not asked again")
            return


def _ask(client: "Client", model: str, path: Path, top_k: str | None, *, first: bool) -> _Row:
    from torchfinch.serving.client import NoAnswerError

    try:
        body = path.read_bytes()
    except OSError as error:
        return _Row(str(path), error=str(error.strerror))
    try:
        answer = client.predict(model, body, top_k=top_k)
    except TorchfinchError as error:
        if first and not isinstance(error, NoAnswerError):  # later the rows so far are worth more than a quick end
            raise
        return _Row(str(path), error=error.message, answered=False)
    if answer.problem:
        return _Row(str(path), error=answer.problem, answered=True)
    content = answer.body.decode(errors="replace") if answer.content is None else answer.content
    return _Row(str(path), content, answered=True)


def _write_csv(rows: list[_Row], path: Path) -> None:
    from torchfinch.files import replacing

    columns = dict.fromkeys(column for row in rows for column in row.columns)

    def write(stream: Any) -> None:
        writer = csv.DictWriter(stream, list({"image": None, **columns, "error": None}))
        writer.writeheader()
        writer.writerows({**row.columns, "image": row.image, "error": row.error} for row in rows)

    if str(path) == "-":
        write(sys.stdout)
        return
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        write(stream)
    err.print(f"wrote {path}")
