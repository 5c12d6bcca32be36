"""Changes to images: augmentation, Mixup and CutMix, test-time views."""
