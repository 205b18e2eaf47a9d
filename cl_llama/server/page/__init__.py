"""The web page at `/`: HTML, CSS and JavaScript modules that speak the server's OpenAI API."""

from cl_llama.server.page.files import page_files
from cl_llama.server.page.routes import router

__all__ = ["page_files", "router"]
