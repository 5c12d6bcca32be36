"""The same run on several backends, side by side.

>>> comparison = xfer.compare("photos", backends=("torch", "tensorflow"), epochs=5, out="comparison")
>>> rich.print(comparison.table())  # comparison/report.html has the rest
"""

from xfer.report.agreement import Agreement, Answer, Disagreement
from xfer.report.checks import Check
from xfer.report.comparison import Comparison
from xfer.report.study import compare, summarise

__all__ = ["Agreement", "Answer", "Check", "Comparison", "Disagreement", "compare", "summarise"]
