"""The examples on PyTorch."""

from torchvision.datasets import FakeData

from tests.suites.examples import Examples


class TestTorch(Examples):
    backend = "torch"

    def cifar10(self):
        """Pillow images and integer labels, as torchvision's CIFAR10 yields them."""
        return FakeData(40, (3, 32, 32)), FakeData(20, (3, 32, 32), random_offset=40)
