"""Folders for servers that people run at scale: Triton's model repository, DeepStream's nvinfer.

They are made of a bundle's files alone; none of the servers is needed to make them.
"""
