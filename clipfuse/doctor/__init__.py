"""``clipfuse doctor``: what is wrong with the data of a cache, each check in a file of its own."""

from clipfuse.doctor.checks import examine
from clipfuse.doctor.csv_files import write_findings
from clipfuse.doctor.finding import Finding
from clipfuse.doctor.subject import OutOfFold, Subject

__all__ = ["Finding", "OutOfFold", "Subject", "examine", "write_findings"]
