"""A namespace of a cluster, through the official client: objects are made once, and watches that break are resumed."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import urllib3
from kubernetes import client, config, watch
from kubernetes.client.exceptions import ApiException

from training.launch.kubernetes.objects import ROLE_LABEL, RUN_LABEL, STAGE_LABEL, Manifest

REQUEST_SECONDS = 30
WATCH_SECONDS = 300  # after which the server ends a watch, and another one goes on
TRIES = 6  # of a request that the server, or the way to it, did not answer
JOBSET = ("jobset.x-k8s.io", "v1alpha2", "jobsets")


class ClusterError(Exception):
    """The cluster cannot be reached or refuses; the message says what and why."""


def connect(context: str = "", namespace: str = "") -> Cluster:
    """Of the pod that this runs in, or of the user's kubeconfig. Raises `ClusterError` where there is neither."""
    try:
        config.load_incluster_config()
    except config.ConfigException:
        try:
            config.load_kube_config(context=context or None)
        except (config.ConfigException, OSError) as error:
            raise ClusterError(f"no cluster is configured: {error}; set KUBECONFIG or name a --context") from None
    return Cluster(client.ApiClient(), namespace or "default")


class Cluster:
    """All methods raise `ClusterError`."""

    def __init__(self, api: client.ApiClient, namespace: str):
        self.namespace = namespace
        self._core, self._batch = client.CoreV1Api(api), client.BatchV1Api(api)
        self._rbac, self._custom = client.RbacAuthorizationV1Api(api), client.CustomObjectsApi(api)
        self._groups = client.ApisApi(api)
        self._kinds = {
            "Job": (self._batch.create_namespaced_job, client.V1Job),
            "Service": (self._core.create_namespaced_service, client.V1Service),
            "ServiceAccount": (self._core.create_namespaced_service_account, client.V1ServiceAccount),
            "Role": (self._rbac.create_namespaced_role, client.V1Role),
            "RoleBinding": (self._rbac.create_namespaced_role_binding, client.V1RoleBinding),
        }

    def serves_jobset(self) -> bool:
        groups = self._ask("list the API groups", self._groups.get_api_versions)
        served = {version.group_version for group in groups.groups for version in group.versions}
        return "/".join(JOBSET[:2]) in served

    def create(self, manifest: Manifest) -> bool:
        """False where an object of that name is there already."""
        kind, name = manifest["kind"], manifest["metadata"]["name"]
        what = f"create {kind} {name}"
        try:
            if kind == "JobSet":
                self._ask(what, self._custom.create_namespaced_custom_object, *JOBSET[:2], self.namespace, JOBSET[2],
                          manifest)  # fmt: skip
            else:
                method, model = self._kinds[kind]
                self._ask(what, method, self.namespace, model.from_dict(manifest))
        except AlreadyThereError:
            return False
        return True

    def jobs(self, run: str = "", role: str = "") -> list[client.V1Job]:
        found = self._ask(
            "list jobs", self._batch.list_namespaced_job, self.namespace, label_selector=_selector(run, role)
        )
        return found.items

    def watch_jobs(self, run: str, role: str, seconds: float) -> Iterator[None]:
        """Yields whenever a job of the run has changed, and ends after `seconds`. A watch that breaks is begun anew."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            stream = watch.Watch()
            try:
                for _ in stream.stream(
                    self._batch.list_namespaced_job,
                    self.namespace,
                    label_selector=_selector(run, role),
                    timeout_seconds=max(1, int(min(WATCH_SECONDS, left))),
                    _request_timeout=WATCH_SECONDS + REQUEST_SECONDS,
                ):
                    yield
            except (ApiException, urllib3.exceptions.HTTPError, ValueError):
                time.sleep(min(1.0, max(0.0, until - time.monotonic())))
                yield  # what changed meanwhile is not known
            finally:
                stream.stop()

    def pods(self, run: str, stage: str = "") -> list[client.V1Pod]:
        selector = _selector(run, "stage" if stage else "") + (f",{STAGE_LABEL}={stage}" if stage else "")
        return self._ask("list pods", self._core.list_namespaced_pod, self.namespace, label_selector=selector).items

    def log(self, pod: str, lines: int) -> str:
        """The last lines of a pod's log; empty where it has none yet."""
        try:
            return self._ask(
                f"read the log of {pod}", self._core.read_namespaced_pod_log, pod, self.namespace, tail_lines=lines
            )
        except ClusterError:
            return ""

    def follow_log(self, pod: str) -> Iterator[str]:
        """Lines of a pod's log as they are written, until it ends."""
        answer = self._ask(
            f"follow the log of {pod}", self._core.read_namespaced_pod_log, pod, self.namespace, follow=True,
            _preload_content=False, seconds=None,
        )  # fmt: skip
        for chunk in answer:
            yield from chunk.decode(errors="replace").splitlines()

    def delete_run(self, run: str) -> int:
        """Ends a run: its launcher first, so that it starts no other stage. Returns how many objects there were."""
        selector, count = _selector(run), 0
        jobs = sorted(self.jobs(run), key=lambda job: (job.metadata.labels or {}).get(ROLE_LABEL) != "launcher")
        if self.serves_jobset():
            found = self._ask("list JobSets", self._custom.list_namespaced_custom_object, *JOBSET[:2], self.namespace,
                              JOBSET[2], label_selector=selector)  # fmt: skip
            for item in found["items"]:
                self._ask("delete a JobSet", self._custom.delete_namespaced_custom_object, *JOBSET[:2], self.namespace,
                          JOBSET[2], item["metadata"]["name"])  # fmt: skip
                count += 1
        for job in jobs:
            self._delete("job", self._batch.delete_namespaced_job, job.metadata.name, propagation_policy="Foreground")
            count += 1
        for kind, listed, delete in (
            ("service", self._core.list_namespaced_service, self._core.delete_namespaced_service),
            ("role binding", self._rbac.list_namespaced_role_binding, self._rbac.delete_namespaced_role_binding),
            ("role", self._rbac.list_namespaced_role, self._rbac.delete_namespaced_role),
            ("service account", self._core.list_namespaced_service_account,
             self._core.delete_namespaced_service_account),
        ):  # fmt: skip
            for item in self._ask(f"list {kind}s", listed, self.namespace, label_selector=selector).items:
                self._delete(kind, delete, item.metadata.name)
                count += 1
        return count

    def _delete(self, kind: str, method, name: str, **options) -> None:
        """Servers answer with a status or with what was deleted, which the client's models do not tell apart."""
        self._ask(f"delete {kind} {name}", method, name, self.namespace, _preload_content=False, **options)

    def _ask(self, what: str, method, *arguments, seconds: float | None = REQUEST_SECONDS, **options) -> Any:
        """Asks again where the server is busy or out of reach, for at most about a minute."""
        for attempt in range(TRIES):
            try:
                return method(*arguments, _request_timeout=seconds, **options)
            except ApiException as error:
                if error.status == 409 and what.startswith("create"):
                    raise AlreadyThereError from None
                if error.status == 404 and what.startswith("delete"):
                    return None
                reason = _reason(error)
                if error.status not in (0, 429, 500, 502, 503, 504) or attempt == TRIES - 1:
                    raise ClusterError(f"cannot {what} in namespace {self.namespace}: {reason}") from None
            except urllib3.exceptions.HTTPError as error:
                if attempt == TRIES - 1:
                    raise ClusterError(f"cannot {what}: the cluster cannot be reached: {error}") from None
            time.sleep(min(20.0, 0.5 * 2**attempt))
        raise AssertionError("unreachable")


class AlreadyThereError(Exception):
    """An object of that name exists."""


def _selector(run: str = "", role: str = "") -> str:
    chosen = [f"{RUN_LABEL}={run}" if run else RUN_LABEL]
    return ",".join([*chosen, f"{ROLE_LABEL}={role}"] if role else chosen)


def _reason(error: ApiException) -> str:
    """What the server says, in one line."""
    try:
        return json.loads(error.body)["message"]
    except (TypeError, ValueError, KeyError):
        return f"HTTP {error.status} {error.reason}"
