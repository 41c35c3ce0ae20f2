"""The web view of a run: pictures, counts, charts, metrics.

Starlette on uvicorn: maintained, and pure Python, so that nothing is compiled on an edge box.
"""

from __future__ import annotations

from ghost_deploy.stream.web.server import WebView
from ghost_deploy.stream.web.status import ModelCard

__all__ = ["ModelCard", "WebView"]
