"""Weights whose int8 products cannot overflow on x86 processors without VNNI.

Such a processor multiplies u8 activations by s8 weights with VPMADDUBSW (Intel SDM, volume 2),
which adds the products of two neighbouring input channels in int16 with saturation. The sum of a
pair saturates where 255 (w1 + w2) exceeds the range of int16, i.e. where two weights of one sign
add up to more than 128. OpenVINO (oneDNN) and ONNX Runtime (MLAS) pair the input channels 2k and
2k + 1 of one kernel position; a depthwise convolution has no pairs.

The usual guard halves the range of all weights. Here the scale of an output channel is enlarged
only as far as its own pairs need: on two trained Ghost detectors by 1.5 on average.
"""

from __future__ import annotations
