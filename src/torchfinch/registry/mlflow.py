"""MLflow as the registry: an archive is the only file of a logged model, and its digest a tag of the version."""

import tempfile
from pathlib import Path

import mlflow
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion

from torchfinch.archive import ArchiveInfo, read_archive
from torchfinch.errors import TorchfinchError
from torchfinch.files import replacing, sha256
from torchfinch.registry import Version
from torchfinch.registry.connection import WEIGHTS, connect, experiment, told

_DIGEST = "sha256"
_TAKEN_BACK = "rolled_back"
_CHALLENGER = "challenger"


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
            known = [each for each in self._tagged(_DIGEST, info.digest) if each.name == info.name]
            version = str((known[0] if known else self._create(info)).version)
            if alias:
                self._client.set_registered_model_alias(info.name, alias, version)
        return version

    def find(self, reference: str) -> Version:
        """The version that is meant.

        Raises:
            TorchfinchError: there is no such version.
        """
        found = self._get(reference)
        with told(self._uri):
            run = self._client.get_run(found.run_id).info.run_name if found.run_id else ""
        return Version(found.name, str(found.version), tuple(found.aliases), run)

    def trained(self, weights: str) -> list[Version]:
        """The versions whose weights have this digest."""
        with told(self._uri):
            return [self.find(f"models:/{each.name}/{each.version}") for each in self._tagged(WEIGHTS, weights)]

    def promoted(self, digest: str) -> None:
        """Move `champion` to the versions with this digest; none is rolled back or a challenger any more."""
        with told(self._uri):
            for each in self._tagged(_DIGEST, digest):
                self._client.set_registered_model_alias(each.name, "champion", each.version)
                self._challenge_ended(each)
                if _TAKEN_BACK in each.tags:
                    self._client.delete_model_version_tag(each.name, each.version, _TAKEN_BACK)

    def rolled_back(self, digest: str, reason: str) -> None:
        """Tag the versions with this digest; none is a challenger any more."""
        with told(self._uri):
            for each in self._tagged(_DIGEST, digest):
                self._client.set_model_version_tag(each.name, each.version, _TAKEN_BACK, reason)
                self._challenge_ended(each)

    def fetch(self, reference: str, folder: Path) -> Path:
        """Copy the archive of a version into `folder`.

        Raises:
            TorchfinchError: there is no such version, or its bytes are not those that were registered.
        """
        found = self._get(reference)
        with tempfile.TemporaryDirectory() as temporary:
            with told(self._uri):
                place = f"models:/{found.name}/{found.version}"
                fetched = mlflow.artifacts.download_artifacts(place, dst_path=temporary)
            archives = sorted(Path(fetched).glob("*.mar"))
            if len(archives) != 1 or sha256(archives[0]) != found.tags.get(_DIGEST):
                raise TorchfinchError(f"{reference} is not the archive that was registered", "register it again")
            output = folder / archives[0].name
            with replacing(output) as whole:
                whole.write_bytes(archives[0].read_bytes())
        return output

    def _challenge_ended(self, version: ModelVersion) -> None:
        if _CHALLENGER in self._client.get_model_version(version.name, version.version).aliases:
            self._client.delete_registered_model_alias(version.name, _CHALLENGER)

    def _get(self, reference: str) -> ModelVersion:
        name, alias, number = _parse(reference)
        with told(self._uri, "mlflow ui shows which there are; torchfinch push adds one"):
            if alias:
                return self._client.get_model_version_by_alias(name, alias)
            return self._client.get_model_version(name, number)

    def _create(self, info: ArchiveInfo) -> ModelVersion:
        client, run = self._client, self._run(info)
        place = run.info.experiment_id if run else experiment(client, info.name)
        model = client.create_logged_model(place, name="archive", source_run_id=run.info.run_id if run else None)
        client.log_model_artifact(model.model_id, str(info.path))
        client.finalize_logged_model(model.model_id, "READY")
        if not client.search_registered_models(f"name = '{info.name}'"):
            client.create_registered_model(info.name)
        return client.create_model_version(
            info.name,
            f"models:/{model.model_id}",
            run_id=run.info.run_id if run else None,
            tags={_DIGEST: info.digest, WEIGHTS: _weights(info) or "unknown"},
            model_id=model.model_id,
        )

    def _run(self, info: ArchiveInfo) -> Run | None:
        """The last tracked training of the archive's recipe that left the archive's weights."""
        place, weights = self._client.get_experiment_by_name(str(info.lineage.get("recipe"))), _weights(info)
        if not place or not weights:
            return None
        same = f"tags.{WEIGHTS} = '{weights}'"
        found = self._client.search_runs([place.experiment_id], same, order_by=["start_time DESC"], max_results=1)
        return found[0] if found else None

    def _tagged(self, tag: str, digest: str) -> list[ModelVersion]:
        return list(self._client.search_model_versions(f"tags.`{tag}` = '{digest}'"))


def _weights(info: ArchiveInfo) -> str:
    return info.digests.get(str(info.manifest["model"].get("serializedFile")), "")


def _parse(reference: str) -> tuple[str, str, str]:
    rest = reference.removeprefix("models:/")
    name, at, alias = rest.partition("@")
    name, _, number = (name, "", "") if at else rest.partition("/")
    if rest == reference or not name or not (alias or number):
        raise TorchfinchError(f"{reference!r} is no version", "write models:/NAME@ALIAS or models:/NAME/VERSION")
    return name, alias, number
