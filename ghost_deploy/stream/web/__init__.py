"""The web view of a run: images, counts, charts, metrics.

Starlette on uvicorn: maintained, and pure Python, so that nothing is compiled on an edge device.
"""
