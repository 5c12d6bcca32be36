"""The networks of the zoo in Keras alone, for any engine of Keras."""
