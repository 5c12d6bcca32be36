"""XLA."""

from tests.suites.compiling import Compiling


class TestKeras(Compiling):
    backend = "tensorflow"

    def traced(self, model):
        """Functions that TensorFlow must compile with XLA."""
        functions = (function.get_concrete_function() for function in model._compiled.values())
        return sum(concrete.function_def.attr["_XlaMustCompile"].b for concrete in functions)
