"""What a batch is: ``element_batch`` and ``metadata`` on the JAX side, ``spec`` on the NumPy side."""
