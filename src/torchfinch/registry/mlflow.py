"""MLflow as the registry: an archive is the only file of a logged model, and its digest a tag of the version."""

import tempfile
from pathlib import Path

import mlflow

from torchfinch.archive import read_archive
from torchfinch.errors import TorchfinchError
from torchfinch.files import replacing, sha256
from torchfinch.registry.connection import connect, experiment, told

_DIGEST = "sha256"


class MlflowRegistry:
    """Versions of registered models; aliases are `champion` and `challenger`."""

    def __init__(self, uri: str) -> None:
        self._uri, self._client = uri, connect(uri)

    def register(self, archive: Path, *, alias: str | None = None) -> str:
        """Keep an archive; its name is the registered model's.

        Raises:
            TorchfinchError: the file is no archive, or MLflow refused.
        """
        info = read_archive(archive)
        with told(self._uri):
            known = [each for each in self._versions(info.digest) if each[0] == info.name]
            version = known[0][1] if known else self._create(archive, name=info.name, digest=info.digest)
            if alias:
                self._client.set_registered_model_alias(info.name, alias, version)
        return version

    def promoted(self, digest: str) -> None:
        """Move `champion` to the versions with this digest."""
        with told(self._uri):
            for name, version in self._versions(digest):
                self._client.set_registered_model_alias(name, "champion", version)

    def rolled_back(self, digest: str, reason: str) -> None:
        """Tag the versions with this digest."""
        with told(self._uri):
            for name, version in self._versions(digest):
                self._client.set_model_version_tag(name, version, "rolled_back", reason)

    def fetch(self, reference: str, folder: Path) -> Path:
        """Copy the archive of a version into `folder`.

        Raises:
            TorchfinchError: there is no such version, or its bytes are not those that were registered.
        """
        name, alias, number = _parse(reference)
        with told(self._uri, "mlflow ui shows which there are; torchfinch push adds one"):
            by_alias = self._client.get_model_version_by_alias
            found = by_alias(name, alias) if alias else self._client.get_model_version(name, number)
        with told(self._uri), tempfile.TemporaryDirectory() as temporary:
            fetched = mlflow.artifacts.download_artifacts(f"models:/{name}/{found.version}", dst_path=temporary)
            archives = sorted(Path(fetched).glob("*.mar"))
            if len(archives) != 1 or sha256(archives[0]) != found.tags.get(_DIGEST):
                raise TorchfinchError(f"{reference} is not the archive that was registered", "register it again")
            output = folder / archives[0].name
            with replacing(output) as whole:
                whole.write_bytes(archives[0].read_bytes())
        return output

    def _create(self, archive: Path, *, name: str, digest: str) -> str:
        client = self._client
        model = client.create_logged_model(experiment(client, name), name="archive")
        client.log_model_artifact(model.model_id, str(archive))
        client.finalize_logged_model(model.model_id, "READY")
        if not client.search_registered_models(f"name = '{name}'"):
            client.create_registered_model(name)
        source = f"models:/{model.model_id}"
        return str(client.create_model_version(name, source, tags={_DIGEST: digest}, model_id=model.model_id).version)

    def _versions(self, digest: str) -> list[tuple[str, str]]:
        found = self._client.search_model_versions(f"tags.`{_DIGEST}` = '{digest}'")
        return [(each.name, str(each.version)) for each in found]


def _parse(reference: str) -> tuple[str, str, str]:
    rest = reference.removeprefix("models:/")
    name, at, alias = rest.partition("@")
    name, _, number = (name, "", "") if at else rest.partition("/")
    if rest == reference or not name or not (alias or number):
        raise TorchfinchError(f"{reference!r} is no version", "write models:/NAME@ALIAS or models:/NAME/VERSION")
    return name, alias, number
