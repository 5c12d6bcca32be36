"""The contracts (model, backend, stepper, freezer), and a model from a name."""
