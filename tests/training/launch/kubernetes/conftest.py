"""A Kubernetes API server in this process, as far as training needs one; the real client talks to it over HTTP."""

import json
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlparse

import kubernetes_validate
import pytest
from kubernetes import client

from training.launch.kubernetes.cluster import Cluster
from training.launch.kubernetes.settings import LaunchSettings

PATH = re.compile(
    r"^/(?:api|apis/(?P<group>[^/]+))/v\w+/namespaces/[^/]+/(?P<kind>\w+)(?:/(?P<name>[^/]+))?(?P<log>/log)?$"
)
LISTS = {"jobs": "JobList", "services": "ServiceList", "pods": "PodList"}


class ApiServer(ThreadingHTTPServer):
    """`objects`: by kind and name. `asked`: (verb, group, resource) of requests. `fail`: next statuses."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.objects: dict[str, dict[str, dict]] = {}
        self.asked, self.fail, self.logs = [], [], {}
        self.forbidden, self.broken_watches, self.groups = set(), 0, []
        self.changed = threading.Condition()
        self.version = 0

    def put(self, kind, item):
        with self.changed:
            self.version += 1
            item["metadata"]["resourceVersion"] = str(self.version)
            self.objects.setdefault(kind, {})[item["metadata"]["name"]] = item
            self.changed.notify_all()

    def set_job(self, name, condition="", message="", active=0):
        """What the Job controller would write."""
        job = self.objects["jobs"][name]
        job["status"] = {"active": active} if active else {}
        if condition:
            job["status"]["conditions"] = [
                {"type": condition, "status": "True", "reason": "PodFailurePolicy", "message": message}
            ]
        self.put("jobs", job)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        url = urlparse(self.path)
        if url.path == "/apis/":
            versions = {
                name: [{"groupVersion": f"{name}/v1alpha2", "version": "v1alpha2"}] for name in self.server.groups
            }
            groups = [{"name": name, "versions": each} for name, each in versions.items()]
            self.answer(200, {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
            return
        found, query = PATH.match(url.path), parse_qs(url.query)
        if found["log"]:
            if self.allowed("get", found["group"], "pods/log"):
                self.answer(200, self.server.logs.get(found["name"], ""))
            return
        verb = "get" if found["name"] else "watch" if "watch" in query else "list"
        if not self.allowed(verb, found["group"], found["kind"]):
            return
        items = [item for item in self.server.objects.get(found["kind"], {}).values() if selected(item, query)]
        if verb == "watch":
            self.watch(found["kind"], query)
        else:
            metadata = {"resourceVersion": str(self.server.version)}
            self.answer(200, {"kind": LISTS.get(found["kind"], "List"), "metadata": metadata, "items": items})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        found = PATH.match(urlparse(self.path).path)
        if not self.allowed("create", found["group"], found["kind"]):
            return
        name = body["metadata"]["name"]
        if found["group"] != "jobset.x-k8s.io":
            kubernetes_validate.validate(body, "1.32", strict=True)
        with self.server.changed:
            if taken := name in self.server.objects.get(found["kind"], {}):
                self.refuse(409, f'{found["kind"]} "{name}" already exists')
            else:
                body["metadata"]["uid"] = f"{found['kind']}-{name}"
                self.server.put(found["kind"], body)
        if not taken:
            self.answer(201, body)

    def do_DELETE(self):
        found = PATH.match(urlparse(self.path).path)
        if length := int(self.headers.get("Content-Length") or 0):
            self.rfile.read(length)
        if self.allowed("delete", found["group"], found["kind"]):
            gone = self.server.objects.get(found["kind"], {}).pop(found["name"], None)
            self.answer(200, {"kind": "Status", "status": "Success"}) if gone else self.refuse(404, "not found")

    def allowed(self, verb, group, resource) -> bool:
        self.server.asked.append((verb, group or "", resource))
        if self.server.fail:
            self.refuse(self.server.fail.pop(0), "the server is busy")
        elif (verb, resource) in self.server.forbidden:
            self.refuse(403, f'{resource} is forbidden: User "ann" cannot {verb} resource "{resource}"')
        else:
            return True
        return False

    def watch(self, kind, query):
        """Sends what changes; a watch that is to break ends in the middle of a line."""
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        seen = int(query.get("resourceVersion", ["0"])[0])
        until, before = time.monotonic() + int(query["timeoutSeconds"][0]), []
        while time.monotonic() < until:
            with self.server.changed:
                self.server.changed.wait(0.2)
                items = [dict(item) for item in self.server.objects.get(kind, {}).values()]
            names = {item["metadata"]["name"] for item in items}
            for item in (each for each in before if each["metadata"]["name"] not in names and selected(each, query)):
                self.wfile.write((json.dumps({"type": "DELETED", "object": item}) + "\n").encode())
                self.wfile.flush()
            before = items
            for item in items:
                if int(item["metadata"]["resourceVersion"]) > seen and selected(item, query):
                    line = json.dumps({"type": "MODIFIED", "object": item}) + "\n"
                    if self.server.broken_watches:
                        self.server.broken_watches -= 1
                        self.chunk(line[: len(line) // 2])
                        self.close_connection = True
                        return
                    self.chunk(line)
            seen = max([seen, *(int(item["metadata"]["resourceVersion"]) for item in items)])
        self.chunk("")  # the end

    def chunk(self, text):
        self.wfile.write(f"{len(text.encode()):x}\r\n{text}\r\n".encode())
        self.wfile.flush()

    def refuse(self, status, message):
        self.answer(status, {"kind": "Status", "status": "Failure", "message": message, "code": status})

    def answer(self, status, body):
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain" if isinstance(body, str) else "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


def selected(item, query) -> bool:
    marks = item["metadata"].get("labels") or {}
    wanted = [text.partition("=") for text in query.get("labelSelector", [""])[0].split(",") if text]
    return all(marks.get(key) == value if equals else key in marks for key, equals, value in wanted)


@pytest.fixture
def server():
    server = ApiServer()
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def cluster(server) -> Cluster:
    configuration = client.Configuration(host=f"http://127.0.0.1:{server.server_port}")
    configuration.retries = False
    return Cluster(client.ApiClient(configuration), "team")


@pytest.fixture
def settings():
    """Makes settings: `settings(nodes=2)`."""

    def make(**changes) -> LaunchSettings:
        given = {"name": "run", "preset": "nano", "stages": ("0.1", "0.2"), "image": "parley-train:0.1.0"}
        return LaunchSettings(**{**given, "checkpoints": "runs", "namespace": "team", **changes})

    return make
