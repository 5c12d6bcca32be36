"""xfer on PyTorch: torchvision's networks behind xfer's contracts."""
