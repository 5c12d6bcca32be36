"""Precision "auto" and bfloat16 on TensorFlow."""

import tensorflow as tf

from tests.suites.precision import IMAGES, Precision


class TestKeras(Precision):
    backend = "tensorflow"

    def test_what_is_not_chosen_is_not_traced(self):
        traced, function = [], tf.function

        def counted(*given, **options):
            traced.extend(given)  # nothing where it decorates a function of TensorFlow
            return function(*given, **options)

        self.monkeypatch.setattr(tf, "function", counted)
        model = self.model()
        model.features(IMAGES)
        assert model.spec.precision == "bf16"
        assert len(traced) == 1
