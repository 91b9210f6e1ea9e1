"""Releases as a page in a browser: what is under way, why, and buttons to say what should happen."""

from torchfinch.dashboard.app import create_app
from torchfinch.dashboard.server import serve
from torchfinch.dashboard.source import LocalReleases, Source

__all__ = ["LocalReleases", "Source", "create_app", "serve"]
