"""Two releases as controllers leave them: `digits`, rolled back, and `faces`, under way at weight 5."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from torchfinch.dashboard import LocalReleases, create_app, serve
from torchfinch.release.controller import Controller
from torchfinch.release.local.store import FileStore
from torchfinch.release.manifest.spec import Spec
from torchfinch.release.simulation.simulated import World
from torchfinch.release.state import Phase

TOKEN = "a-token"


class Played:
    """A release that goes on when a test says so."""

    def __init__(self, folder: Path, *, error_rate: float, policy: str = "required") -> None:
        folder.mkdir(parents=True)
        self.store = FileStore(folder)
        self.world = World(offered="two <i>2</i>")
        spec = {
            "model": "digits",
            "route": {"port": 8090},
            "steps": [{"weight": 5}, {"weight": 50}],
            "analysis": {"policy": policy},
        }
        self.spec = Spec.model_validate(spec)
        self.controller: Controller = self.world.controller(lambda: self.spec)
        self._rate = error_rate
        self._written = 0

    def look(self, requests: int = 400) -> None:
        """One look of the controller after some traffic, kept in the folder."""
        self.world.asked = self.store.request()
        self.world.serve(requests, error_rate={"two <i>2</i>": self._rate})
        self.world.now += 5
        self.controller.tick()
        for record in self.world.history[self._written :]:
            self.store.append(record)
        self._written = len(self.world.history)
        self.store.save(self.spec, self.world.load())

    def promoted(self) -> None:
        """All looks until the canary is stable."""
        for _ in range(100):
            self.look(4000)
            if self.world.load().phase is Phase.PROMOTED:
                return
        raise AssertionError(f"still {self.world.load()}")


@pytest.fixture
def faces(tmp_path: Path) -> Played:
    """Under way, with some judged looks behind it."""
    played = Played(tmp_path / "releases" / "faces", error_rate=0.0, policy="sequential")
    while not (played.world.history and played.world.history[-1]["checks"]):
        played.look()
    return played


@pytest.fixture
def digits(tmp_path: Path) -> Played:
    """Rolled back."""
    played = Played(tmp_path / "releases" / "digits", error_rate=0.3)
    while played.world.load().ended is None:
        played.look()
    return played


@pytest.fixture
def client(tmp_path: Path, faces: Played, digits: Played) -> FlaskClient:
    """Who asks without a token, from this machine."""
    return create_app(LocalReleases(tmp_path), token=TOKEN).test_client()


@pytest.fixture
def address(tmp_path: Path, faces: Played, digits: Played) -> Iterator[str]:
    """The page's address, served as the command serves it."""
    with serve(create_app(LocalReleases(tmp_path), token=TOKEN), port=0) as url:
        yield url
