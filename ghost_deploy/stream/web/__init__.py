"""The web view of a run: images, counts, charts, metrics.

Starlette on uvicorn: maintained, and pure Python, so that nothing is compiled on an edge box.
"""

from __future__ import annotations

from ghost_deploy.stream.web.status import ModelCard
from ghost_deploy.stream.web.web_view import WebViewSink

__all__ = ["ModelCard", "WebViewSink"]
