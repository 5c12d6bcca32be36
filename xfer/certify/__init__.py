"""The parity certificate: the same run on two backends, compared stage by stage, tensor by tensor.

>>> certificate = xfer.parity("resnet18", backends=("torch", "tensorflow"))
>>> certificate.passed
True
"""

from xfer.certify.certificate import Certificate, Stage, Trial
from xfer.certify.run import parity
from xfer.certify.scenario import SCENARIOS, Scenario

__all__ = ["SCENARIOS", "Certificate", "Scenario", "Stage", "Trial", "parity"]
