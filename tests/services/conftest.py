"""The Serve of a cluster, for tests of what asks its REST API: a server that keeps what Serve's own schema accepts."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from services.ray.cluster import Cluster

TOKEN = "of this cluster"


class Serve(BaseHTTPRequestHandler):
    """Answers as Serve 2.60 does. `server.states`: what comes of an application by name; else it runs."""

    def do_GET(self):
        if self.allowed():
            self.answer(200, json.dumps({"applications": self.server.applications}))

    def do_PUT(self):
        if not self.allowed():
            return
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        try:
            from ray.serve.schema import ServeDeploySchema

            config = ServeDeploySchema.model_validate(body)
        except ValueError as error:
            self.answer(400, str(error))
            return
        self.server.applications = {
            each.name: self.server.states.get(each.name, {"status": "RUNNING", "message": "", "deployments": {}})
            | {"deployed_app_config": each.model_dump(exclude_unset=True)}
            for each in config.applications
        }
        self.answer(200, "")

    def allowed(self) -> bool:
        if self.path == "/api/serve/applications/" and self.headers["Authorization"] == f"Bearer {TOKEN}":
            return True
        self.answer(401, "Unauthorized: Missing or invalid authentication token")
        return False

    def answer(self, status, text):
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_):
        pass


@pytest.fixture
def serve_server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Serve)
    server.applications, server.states = {}, {}
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def cluster(serve_server):
    return Cluster(f"http://127.0.0.1:{serve_server.server_port}", TOKEN)
