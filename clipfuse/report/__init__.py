"""``clipfuse report``: runs as one HTML file that opens from disk.

Content first, page last: what is read of a run (:mod:`~clipfuse.report.evidence`) becomes sections of plain values
(:mod:`~clipfuse.report.content`), those become HTML (:mod:`~clipfuse.report.page`).
"""

from clipfuse.report.build import SHOWN, build_report, write_report
from clipfuse.report.row_inputs import RowInputs

__all__ = ["SHOWN", "RowInputs", "build_report", "write_report"]
