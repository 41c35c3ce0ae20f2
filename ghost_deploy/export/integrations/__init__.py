"""Folders for other servers: Triton's model repository, DeepStream's nvinfer.

They are written from a bundle's files alone; the servers are not needed.
"""
