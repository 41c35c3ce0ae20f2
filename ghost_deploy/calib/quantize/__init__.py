"""Writing int8 graphs: placement, scales, Q/DQ, integer kernels, lint."""
