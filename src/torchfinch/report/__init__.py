"""Self-contained HTML files: on what was trained, measured and released, and on one evaluation."""

from torchfinch.report.evaluation import write_evaluation
from torchfinch.report.render import Report, Sources, write_report

__all__ = ["Report", "Sources", "write_evaluation", "write_report"]
