"""Networks, the bundle that a model travels in, and its answers."""
