"""Which options of a run a ranking has."""

OF_MODEL = ("device", "precision", "image_size", "missing_pixels", "decode", "deterministic")
OPTIONS = ("val", "limit", "seed", "batch_size", "workers", *OF_MODEL)
OF_TRAINING = ("val", "seed", "image_size", "missing_pixels", "decode", "precision", "device")  # in the command
