"""Statistics of activations and the ranges taken from them."""
