"""What each difference between PyTorch's and Keras's habits is worth, in accuracy and loss."""
