"""Files of a model for other runtimes, each compared with the model before it is handed out."""
