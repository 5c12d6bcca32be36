"""xfer on TensorFlow: Keras networks with torchvision's names behind xfer's contracts."""
