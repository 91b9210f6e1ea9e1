"""MLflow at an address, and its errors as one line."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import mlflow
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from requests import RequestException
from sqlalchemy.exc import SQLAlchemyError

from torchfinch.errors import TorchfinchError, without_password

FAULTS = (MlflowException, SQLAlchemyError, ImportError, OSError)
"""Of MLflow, its database or the way there."""
WEIGHTS = "weights_digest"
"""Tag of a run and of a model's version: the SHA-256 of the weights that the one made and the other serves."""
_ADDRESSES = "--registry takes a database, sqlite:///mlflow.db, or a server, http://HOST:5000"

_SERVER = "wait until it has ended; programs that write at the same time need a server, see mlflow server --help"

_KIND = {"mlflow.experimentKind": "custom_model_development"}  # else its pages show language models' traces first


def connect(uri: str) -> MlflowClient:
    """A client of the database or server at `uri`, which this process then uses.

    Raises:
        TorchfinchError: it is no such address, or the database cannot be opened.
    """
    with told(uri):
        mlflow.set_tracking_uri(uri)
        return MlflowClient()


def experiment(client: MlflowClient, name: str) -> str:
    """The number of the experiment of that name, which is made where there is none."""
    found = client.get_experiment_by_name(name)
    return str(found.experiment_id if found else client.create_experiment(name, tags=_KIND))


@contextmanager
def told(uri: str, hint: str | None = None) -> Iterator[None]:
    """What MLflow, its database or the way there says against the block, as one line."""
    try:
        yield
    except FAULTS as error:
        shown = without_password(uri)
        if _unreachable(error):
            raise TorchfinchError(f"{shown} does not answer", _ADDRESSES) from error
        if "database is locked" in str(error):
            raise TorchfinchError(f"{shown} is locked by another program", hint or _SERVER) from error
        sentence = re.split(r"(?<=[.!?])\s|\n", str(error).strip())[0].replace(uri, shown)
        raise TorchfinchError(f"{shown}: {sentence}", hint or _ADDRESSES) from error


def _unreachable(error: BaseException | None) -> bool:
    """Whether a request got no answer, which MLflow tells inside its own error."""
    if error is None or isinstance(error, RequestException):
        return error is not None
    return _unreachable(error.__cause__ or error.__context__)
