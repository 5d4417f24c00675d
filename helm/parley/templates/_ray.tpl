{{/* What a Ray node and the Serve config consist of. files/ray.yaml is written by `make deploy-files`. */}}

{{- define "parley.ray" -}}
{{ .Files.Get "files/ray.yaml" }}
{{- end -}}

{{/* The releases that are served: one, or two during a promotion. */}}
{{- define "parley.releases" -}}
{{- dict "list" (.Values.releases | default (list .Values.release)) | toYaml -}}
{{- end -}}

{{/* The values of a service, over serviceDefaults: (dict "root" $ "service" "llm_core") */}}
{{- define "parley.service" -}}
{{- mergeOverwrite (deepCopy .root.Values.serviceDefaults) (deepCopy (index .root.Values.services .service)) | toYaml -}}
{{- end -}}

{{/* GPUs of a service's pod. */}}
{{- define "parley.podGpus" -}}
{{- index (.resources.limits | default dict) .gpuResource | default 0 -}}
{{- end -}}

{{/* How many replicas of a service fit into one of its pods, both releases together. */}}
{{- define "parley.replicasPerPod" -}}
{{- if gt (float64 .numGpus) 0.0 -}}
{{- floor (addf (divf (include "parley.podGpus" . | float64) (float64 .numGpus)) 0.000001) | int -}}
{{- else -}}
{{- int .replicasPerPod -}}
{{- end -}}
{{- end -}}

{{/* Replicas of a service at least and at most: (dict "least" 1 "most" 3) as YAML. */}}
{{- define "parley.replicas" -}}
{{- $scaling := .autoscaling -}}
{{- dict "least" (ternary $scaling.minReplicas .replicas $scaling.enabled | int) "most" (ternary $scaling.maxReplicas .replicas $scaling.enabled | int) | toYaml -}}
{{- end -}}

{{/* Pods of a service, as min and max: (dict "root" $ "service" "llm_core") */}}
{{- define "parley.pods" -}}
{{- $service := include "parley.service" . | fromYaml -}}
{{- $replicas := include "parley.replicas" $service | fromYaml -}}
{{- $room := include "parley.replicasPerPod" $service | float64 -}}
{{- $each := $room -}}  {{- /* of one release */ -}}
{{- if gt (int $service.maxReplicasPerPod) 0 }}{{ $each = minf $room $service.maxReplicasPerPod }}{{ end -}}
{{- $least := ceil (divf $replicas.least $each) -}}
{{- $most := ceil (divf $replicas.most $each) -}}
{{- /* Where Ray adds pods, a promotion may add as many as the second release needs. Else all are there from the start. */ -}}
{{- $grows := .root.Values.ray.autoscaler.enabled -}}
{{- $both := ternary (maxf $most (ceil (divf (mulf $replicas.most 2.0) $room))) $most $grows -}}
{{- $max := ternary (int $service.pods.max) (int $both) (gt (int $service.pods.max) 0) -}}
{{- $min := ternary (int $service.pods.min) (ternary (int $least) $max $grows) (gt (int $service.pods.min) 0) -}}
{{- dict "min" $min "max" $max "perPod" (int $each) | toYaml -}}
{{- end -}}

{{/* Equals services.ray.serve_config.serve_config(placements, releases); a test compares them. */}}
{{- define "parley.serveConfig" -}}
{{- $ray := include "parley.ray" . | fromYaml -}}
{{- $releases := (include "parley.releases" . | fromYaml).list -}}
{{- $applications := list -}}
{{- range $release := $releases -}}
{{- range $name := $ray.services -}}
{{- $application := deepCopy (index $ray.applications $release.slot $name) -}}
{{- $_ := set $application.args "checkpoint" $release.checkpoint -}}
{{- $deployment := first $application.deployments -}}
{{- $service := include "parley.service" (dict "root" $ "service" $name) | fromYaml -}}
{{- $replicas := include "parley.replicas" $service | fromYaml -}}
{{- if eq (int $replicas.least) (int $replicas.most) -}}
{{- $_ := set $deployment "num_replicas" (int $replicas.least) -}}
{{- else -}}
{{- $_ := unset $deployment "num_replicas" -}}
{{- $policy := merge (dict "policy_kwargs" $service.autoscaling.settings) $ray.autoscaling.policy -}}
{{- $bounds := dict "min_replicas" (int $replicas.least) "max_replicas" (int $replicas.most) "policy" $policy -}}
{{- $_ := set $deployment "autoscaling_config" (merge $bounds (deepCopy $ray.autoscaling)) -}}
{{- end -}}
{{- if gt (int $service.maxReplicasPerPod) 0 -}}
{{- $_ := set $deployment "max_replicas_per_node" (int $service.maxReplicasPerPod) -}}
{{- end -}}
{{- if gt (float64 $service.numGpus) 0.0 -}}
{{- $_ := set $deployment.ray_actor_options "num_gpus" $service.numGpus -}}
{{- else -}}
{{- $_ := set $deployment.ray_actor_options "resources" (dict $name 1) -}}
{{- end -}}
{{- $applications = append $applications $application -}}
{{- end -}}
{{- end -}}
{{- set $ray.serveConfig "applications" $applications | toYaml -}}
{{- end -}}

{{/* The environment of every Ray container. */}}
{{- define "parley.rayEnvironment" -}}
{{- range $name, $value := (include "parley.ray" . | fromYaml).environment }}
- {name: {{ $name }}, value: {{ $value | quote }}}
{{- end }}
- {name: HOME, value: /tmp}
- {name: PARLEY_METRICS_HOST, value: 0.0.0.0}
- {name: PARLEY_METRICS_PORT, value: {{ .Values.metrics.port | quote }}}
{{ include "parley.secretVariable" (dict "root" . "name" "PARLEY_SERVICE_TOKEN" "key" .Values.secrets.serviceTokenKey) }}
{{- end -}}

{{/* The checkpoints' volume, if any. */}}
{{- define "parley.checkpointVolume" -}}
{{- $checkpoints := .Values.checkpoints -}}
{{- if $checkpoints.existingClaim }}
persistentVolumeClaim: {claimName: {{ $checkpoints.existingClaim }}, readOnly: true}
{{- else if $checkpoints.claim.create }}
persistentVolumeClaim: {claimName: {{ include "parley.fullname" . }}-checkpoints, readOnly: true}
{{- else if $checkpoints.volume }}
{{ toYaml $checkpoints.volume }}
{{- end }}
{{- end -}}

{{/* Volumes of a Ray pod: (dict "root" $ "values" service-or-head "temporary" "2Gi") */}}
{{- define "parley.rayVolumes" -}}
- name: tmp
  emptyDir: {{ with .temporary }}{sizeLimit: {{ . }}}{{ else }}{}{{ end }}
- name: shared-memory
  emptyDir: {medium: Memory, sizeLimit: {{ .values.sharedMemory }}}
{{- with include "parley.checkpointVolume" .root }}
- name: checkpoints
  {{- . | trim | nindent 2 }}
{{- end }}
{{- with .values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "parley.rayVolumeMounts" -}}
- {name: tmp, mountPath: /tmp}
- {name: shared-memory, mountPath: /dev/shm}
{{- if include "parley.checkpointVolume" .root }}
- {name: checkpoints, mountPath: {{ .root.Values.checkpoints.mountPath }}, readOnly: true}
{{- end }}
{{- with .values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The Ray node answers: KubeRay's own probes of it need bash, wget and grep. */}}
{{- define "parley.rayNodeProbe" -}}
httpGet: {path: /api/healthz, port: 52365}
{{ toYaml . }}
{{- end -}}
