"""Reading a float ONNX graph: index, structure, regions, intermediate tensors."""
