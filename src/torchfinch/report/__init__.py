"""Self-contained HTML files: on what was trained, measured and released, and on one evaluation."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torchfinch.report.evaluation import write_evaluation
    from torchfinch.report.render import Report, Sources, write_report

__all__ = ["Report", "Sources", "write_evaluation", "write_report"]


def __getattr__(name: str) -> Any:
    """Loaded when first asked for: a controller's page needs the charts alone, and must not load torch."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = "evaluation" if name == "write_evaluation" else "render"
    return getattr(import_module(f"{__name__}.{module}"), name)
