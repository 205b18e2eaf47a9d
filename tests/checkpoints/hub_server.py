"""The small part of the Hugging Face hub that a model's download asks for, on the loopback."""

import contextlib
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def _handler(models, requests):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def _send(self, status, body=b"", headers=()):
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def _send_json(self, value):
            self._send(200, json.dumps(value).encode(), [("Content-Type", "application/json")])

        def _send_error(self, status, code):
            self._send(status, b"{}", [("X-Error-Code", code), ("X-Error-Message", code)])

        def do_GET(self):
            path = unquote(self.path.partition("?")[0])
            requests.append(f"{self.command} {path}")
            api = re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(revision|tree)/([^/]+))?/?", path)
            file = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
            name = (api or file)[1] if api or file else None
            revision = (api[3] if api else file[2]) if name else None
            if name == "org/gated":
                return self._send_error(403, "GatedRepo")
            if name == "org/broken":
                return self._send(500)
            if name not in models:
                return self._send_error(404, "RepoNotFound")
            if revision not in (None, "main", "v1", COMMIT):
                return self._send_error(404, "RevisionNotFound")
            files = models[name]
            if api and api[2] == "tree":
                return self._send_json(
                    [
                        {"type": "file", "path": path, "size": len(data), "oid": _etag(data)}
                        for path, data in files.items()
                    ]
                )
            if api:
                siblings = [{"rfilename": path} for path in files]
                return self._send_json({"id": name, "sha": COMMIT, "siblings": siblings})
            if file[3] not in files:
                return self._send_error(404, "EntryNotFound")
            data = files[file[3]]
            headers = [("ETag", f'"{_etag(data)}"'), ("X-Repo-Commit", COMMIT)]
            return self._send(200, data, headers)

        do_HEAD = do_GET

    return Handler


def _etag(data):
    return hashlib.sha1(data).hexdigest()


@contextlib.contextmanager
def serve(models):
    """Serve `{"org/model": {"file": bytes}}`; gives the endpoint and the list of requests."""
    requests = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(models, requests))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", requests
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
