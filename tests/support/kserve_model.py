"""An ONNX file on KServe's own server; a program for the Python that has it.

python kserve_model.py MODEL.onnx HTTP_PORT GRPC_PORT
"""

import sys

import onnxruntime
from kserve import InferOutput, InferResponse, Model, ModelServer

TYPES = {"tensor(float)": "FP32"}


def described(values):
    """Tensors as the protocol describes them."""
    sides = [[size if isinstance(size, int) else -1 for size in value.shape] for value in values]
    return [
        {"name": value.name, "datatype": TYPES[value.type], "shape": shape}
        for value, shape in zip(values, sides, strict=True)
    ]


class OnnxModel(Model):
    """Ignores the names of inputs, as models of KServe may."""

    def __init__(self, name, path):
        super().__init__(name)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(path, options)
        self.ready = True

    def get_input_types(self):
        return described(self.session.get_inputs())

    def get_output_types(self):
        return described(self.session.get_outputs())

    def predict(self, payload, headers=None, response_headers=None):
        name = self.session.get_inputs()[0].name
        values = self.session.run(None, {name: payload.inputs[0].as_numpy()})
        outputs = []
        for value, facts in zip(values, self.get_output_types(), strict=True):
            output = InferOutput(facts["name"], list(value.shape), facts["datatype"])
            output.set_data_from_numpy(value, binary_data=True)
            outputs.append(output)
        return InferResponse(payload.id, self.name, outputs)


if __name__ == "__main__":
    path, http_port, grpc_port = sys.argv[1:]
    server = ModelServer(http_port=int(http_port), grpc_port=int(grpc_port), workers=1)
    server.start([OnnxModel("raw", path)])
