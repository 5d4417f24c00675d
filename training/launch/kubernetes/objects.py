"""The objects of a training run, as Kubernetes takes them: plain dictionaries, and nothing that talks to a cluster.

A stage is an Indexed Job and a headless Service: its pods find each other as JOB-INDEX.SERVICE and run torchrun. What
starts the next stage is a launcher Job with rights of its own in the namespace, or the JobSet controller.
"""

from __future__ import annotations

from typing import Any

from training.launch.kubernetes.settings import GRACE_SECONDS, TAINT, LaunchSettings
from training.launch.stage_job import StageJob
from training.options import Options
from training.plan import can_be_shared
from training.recipe import Stage, find_stage

Manifest = dict[str, Any]

RUN_LABEL, STAGE_LABEL, ROLE_LABEL = "parley.dev/run", "parley.dev/stage", "parley.dev/role"
MISTAKE = 2  # exit status of a configuration that cannot work: `training.launch.pod`
USER = 10001  # of the image
RUNS = "/runs"


def labels(settings: LaunchSettings, role: str, stage: str = "") -> dict[str, str]:
    found = {
        "app.kubernetes.io/name": "parley",
        "app.kubernetes.io/component": "training",
        RUN_LABEL: settings.name,
        ROLE_LABEL: role,
    }
    return {**found, STAGE_LABEL: stage} if stage else found


def job_name(settings: LaunchSettings, stage: str) -> str:
    return f"{settings.name}-{stage.replace('.', '-')}"


def nodes_of(settings: LaunchSettings, stage: Stage) -> tuple[int, int]:
    """Pods and processes of each; one of one where the stage cannot be shared."""
    shared = can_be_shared(stage, settings.preset, settings.nodes * settings.processes)
    return (settings.nodes, settings.processes) if shared else (1, 1)


def stage_job(settings: LaunchSettings, stage: str, endpoint: str) -> StageJob:
    """What the pods of a stage are told."""
    nodes, processes = nodes_of(settings, find_stage(stage))
    run, before = f"{RUNS}/{settings.name}", settings.stage_before(stage)
    return StageJob(
        stage=stage,
        preset=settings.preset,
        run=run,
        store=f"{settings.checkpoints.rstrip('/')}/{settings.name}" if settings.in_object_store else "",
        seed=settings.seed,
        options=Options(steps=settings.steps),
        nodes=nodes,
        processes=processes,
        endpoint=endpoint if nodes > 1 else "",
        job=job_name(settings, stage),
        start=(f"{run}/{before}" if before else settings.start) if settings.start else None,
        records=settings.records or None,
    )


def stage_objects(settings: LaunchSettings, stage: str) -> list[Manifest]:
    """Of one stage: the Service under which its pods find each other, and the Job."""
    name = job_name(settings, stage)
    marks = labels(settings, "stage", stage)
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": settings.namespace, "labels": marks},
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,  # they meet before they are ready
            "selector": {RUN_LABEL: settings.name, STAGE_LABEL: stage},
            "ports": [{"name": "rendezvous", "port": settings.port, "targetPort": settings.port}],
        },
    }
    metadata: Manifest = {"name": name, "namespace": settings.namespace, "labels": dict(marks)}
    spec = job_spec(settings, stage, endpoint=f"{name}-0.{name}:{settings.port}", subdomain=name)
    if settings.queue:
        metadata["labels"]["kueue.x-k8s.io/queue-name"] = settings.queue
        spec["suspend"] = True  # Kueue starts it
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}
    return [service, job]


def job_spec(settings: LaunchSettings, stage: str, endpoint: str, subdomain: str) -> Manifest:
    """`subdomain`: of the headless Service; empty where another controller sets it."""
    job = stage_job(settings, stage, endpoint)
    return {
        "completionMode": "Indexed",
        "completions": job.nodes,
        "parallelism": job.nodes,
        "backoffLimit": settings.retries * job.nodes,  # when one pod is lost, the others may fail with it
        "activeDeadlineSeconds": int(settings.deadline_hours * 3600),
        "ttlSecondsAfterFinished": int(settings.ttl_hours * 3600),
        "podReplacementPolicy": "Failed",  # a pod that is still saving is not replaced beside itself
        "podFailurePolicy": {
            "rules": [
                {"action": "FailJob", "onExitCodes": {"containerName": "train", "operator": "In", "values": [MISTAKE]}},
                {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
            ]
        },
        "template": {
            "metadata": {"labels": labels(settings, "stage", stage)},
            "spec": pod_spec(settings, job, subdomain),
        },
    }


def pod_spec(settings: LaunchSettings, job: StageJob, subdomain: str) -> Manifest:
    limits = {"cpu": settings.cpu, "memory": settings.memory}
    if settings.gpus_per_node:
        limits[settings.gpu_resource] = str(job.processes)
    volumes, mounts = _volumes(settings)
    container: Manifest = {
        "name": "train",
        "image": settings.image,
        "command": ["python", "-m", "training.launch.pod", job.model_dump_json(exclude_defaults=True)],
        "env": _environment(settings),
        "ports": [{"name": "rendezvous", "containerPort": settings.port}],
        "resources": {"limits": limits, "requests": dict(limits)},
        "volumeMounts": mounts,
        "securityContext": _container_security(),
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    if settings.secret:
        container["envFrom"] = [{"secretRef": {"name": settings.secret}}]
    spec: Manifest = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "automountServiceAccountToken": False,
        "securityContext": _pod_security(),
        "containers": [container],
        "volumes": volumes,
    }
    if subdomain:
        spec["subdomain"] = subdomain
    if settings.node_selector:
        spec["nodeSelector"] = dict(settings.node_selector)
    if settings.tolerations:
        spec["tolerations"] = [_toleration(text) for text in settings.tolerations]
    if settings.priority_class:
        spec["priorityClassName"] = settings.priority_class
    if settings.service_account:
        spec["serviceAccountName"] = settings.service_account
        spec["automountServiceAccountToken"] = True  # it may stand for rights to the object store
    return spec


def launcher_objects(settings: LaunchSettings) -> list[Manifest]:
    """What goes on when the client has gone: a Job that makes the stages' Jobs, and the rights that it needs."""
    name, marks = f"{settings.name}-launcher", labels(settings, "launcher")
    metadata = {"name": name, "namespace": settings.namespace, "labels": marks}
    rules = [
        {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["create", "get", "list", "watch", "delete"]},
        {"apiGroups": [""], "resources": ["services"], "verbs": ["create", "get"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]},
    ]
    rbac = "rbac.authorization.k8s.io"
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}
    role = {"apiVersion": f"{rbac}/v1", "kind": "Role", "metadata": metadata, "rules": rules}
    binding = {
        "apiVersion": f"{rbac}/v1",
        "kind": "RoleBinding",
        "metadata": metadata,
        "roleRef": {"apiGroup": rbac, "kind": "Role", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": settings.namespace}],
    }
    resources = {"cpu": "100m", "memory": "512Mi"}
    container = {
        "name": "launcher",
        "image": settings.image,
        "command": ["python", "-m", "training.launch.kubernetes.launcher", settings.model_dump_json()],
        "env": [{"name": "HOME", "value": "/tmp"}],
        "resources": {"requests": resources, "limits": {"memory": resources["memory"]}},
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
        "securityContext": _container_security(),
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata,
        "spec": {
            "backoffLimit": 20,  # it goes on where it was: what runs is in the cluster
            "ttlSecondsAfterFinished": int(settings.ttl_hours * 3600),
            "podFailurePolicy": {
                "rules": [
                    {
                        "action": "FailJob",
                        "onExitCodes": {"containerName": "launcher", "operator": "In", "values": [MISTAKE]},
                    },
                    {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                ]
            },
            "template": {
                "metadata": {"labels": marks},
                "spec": {
                    "restartPolicy": "Never",
                    "serviceAccountName": name,
                    "securityContext": _pod_security(),
                    "containers": [container],
                    "volumes": [{"name": "tmp", "emptyDir": {}}],
                },
            },
        },
    }
    return [account, role, binding, job]


def jobset(settings: LaunchSettings) -> Manifest:
    """The whole run as one object of the JobSet controller, which starts a stage when those before it are complete."""
    marks = labels(settings, "run")
    metadata: Manifest = {"name": settings.name, "namespace": settings.namespace, "labels": dict(marks)}
    spec: Manifest = {
        "network": {"enableDNSHostnames": True, "publishNotReadyAddresses": True},
        "ttlSecondsAfterFinished": int(settings.ttl_hours * 3600),
        "replicatedJobs": [_replicated_job(settings, stage) for stage in settings.stages],
    }
    if settings.queue:
        metadata["labels"]["kueue.x-k8s.io/queue-name"] = settings.queue
        spec["suspend"] = True
    return {"apiVersion": "jobset.x-k8s.io/v1alpha2", "kind": "JobSet", "metadata": metadata, "spec": spec}


def _replicated_job(settings: LaunchSettings, stage: str) -> Manifest:
    """Its pods are JOBSET-NAME-0-INDEX under the JobSet's own Service, which has the JobSet's name."""
    name = f"s{stage.replace('.', '-')}"
    endpoint = f"{settings.name}-{name}-0-0.{settings.name}:{settings.port}"
    spec = job_spec(settings, stage, endpoint, subdomain="")
    del spec["ttlSecondsAfterFinished"]  # the JobSet's own counts
    found: Manifest = {
        "name": name,
        "replicas": 1,
        "template": {"metadata": {"labels": labels(settings, "stage", stage)}, "spec": spec},
    }
    if before := [each for each in settings.stages if settings.stages.index(each) < settings.stages.index(stage)]:
        found["dependsOn"] = [{"name": f"s{before[-1].replace('.', '-')}", "status": "Complete"}]
    return found


def _volumes(settings: LaunchSettings) -> tuple[list[Manifest], list[Manifest]]:
    """Volumes of a pod that trains, and where they are mounted."""
    runs: Manifest = {"name": "runs", "persistentVolumeClaim": {"claimName": settings.checkpoints}}
    if settings.in_object_store:
        runs = {"name": "runs", "emptyDir": {}}  # a copy of what is in the store
    volumes = [
        runs,
        {"name": "tmp", "emptyDir": {}},
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": settings.shared_memory}},
    ]
    mounts = [
        {"name": "runs", "mountPath": RUNS},
        {"name": "tmp", "mountPath": "/tmp"},
        {"name": "shm", "mountPath": "/dev/shm"},
    ]
    if settings.data:
        volumes.append({"name": "data", "persistentVolumeClaim": {"claimName": settings.data, "readOnly": True}})
        mounts.append({"name": "data", "mountPath": "/data", "readOnly": True})
    return volumes, mounts


def _environment(settings: LaunchSettings) -> list[Manifest]:
    fixed = {"HOME": "/tmp", "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1", "NCCL_DEBUG": "WARN"}
    given = fixed | settings.environment
    return [{"name": name, "value": value} for name, value in given.items()]


def _toleration(text: str) -> Manifest:
    parts = {key: value for key, value in TAINT.match(text).groupdict().items() if value is not None}
    return {"operator": "Equal" if "value" in parts else "Exists", **parts}


def _pod_security() -> Manifest:
    return {
        "runAsNonRoot": True,
        "runAsUser": USER,
        "runAsGroup": USER,
        "fsGroup": USER,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def _container_security() -> Manifest:
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
