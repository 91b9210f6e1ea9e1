"""One self-contained HTML file on what was trained, measured and released."""

from torchfinch.report.render import Report, Sources, write_report

__all__ = ["Report", "Sources", "write_report"]
