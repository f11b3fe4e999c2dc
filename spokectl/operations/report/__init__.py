"""One archive with all that tells how a stack is, and with no secret in it."""

from spokectl.operations.report.archive import Part, Report, write_report

__all__ = ["Part", "Report", "write_report"]
