{{/* Values that cannot work are refused here, all at once. Each check prints a line for what is wrong. */}}

{{- define "parley.check" -}}
{{- $lines := list -}}
{{- range $check := list "names" "images" "releases" "promotion" "checkpoints" "ray" "gateway" "ways" "stores" -}}
{{- $lines = append $lines (include (printf "parley.check.%s" $check) $ | trim) -}}
{{- end -}}
{{- range $name := (include "parley.ray" . | fromYaml).services -}}
{{- $service := include "parley.service" (dict "root" $ "service" $name) | fromYaml -}}
{{- range $check := list "scaling" "gpus" "pod" -}}
{{- $lines = append $lines (include (printf "parley.check.%s" $check) (dict "root" $ "name" $name "service" $service) | trim) -}}
{{- end -}}
{{- end -}}
{{- with $lines | compact -}}
{{- fail (printf "\n\nThese values cannot work:\n%s\n" (join "\n" .)) -}}
{{- end -}}
{{- end -}}

{{- define "parley.check.names" -}}
{{- $name := include "parley.fullname" . -}}
{{- if or (gt (len $name) 40) (not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" $name)) }}
- the name {{ $name | quote }} must begin with a letter, have lower-case letters, digits and dashes only, and at most 40 of them: set fullnameOverride
{{- end }}
{{- end -}}

{{- define "parley.check.images" -}}
{{- range $name := list "gateway" "services" "client" "store" }}
{{- if eq "latest" (index $.Values.images $name).tag }}
- images.{{ $name }}.tag is "latest", which names another image every day: set a version
{{- end }}
{{- end }}
{{- end -}}

{{- define "parley.check.releases" -}}
{{- $slots := keys (include "parley.ray" . | fromYaml).applications | sortAlpha -}}
{{- $taken := list -}}
{{- range (include "parley.releases" . | fromYaml).list }}
{{- if not (has .slot $slots) }}
- there is no slot {{ .slot | quote }}: the slots are {{ join ", " $slots }}
{{- end }}
{{- if has .slot $taken }}
- two releases are in the slot {{ .slot | quote }}: each needs one of its own
{{- end }}
{{- if not (hasPrefix "/" .checkpoint) }}
- the checkpoint {{ .checkpoint | quote }} of slot {{ .slot }} is no path: write it as the pods see it, as in {{ $.Values.checkpoints.mountPath }}/nano
{{- end }}
{{- $taken = append $taken .slot }}
{{- end }}
{{- end -}}

{{- define "parley.check.promotion" -}}
{{- $promotion := .Values.promotion -}}
{{- if and $promotion.checkpoint $promotion.back }}
- promotion has a checkpoint and is to go back: choose one
{{- end }}
{{- if and $promotion.checkpoint (not (hasPrefix "/" $promotion.checkpoint)) }}
- promotion.checkpoint {{ $promotion.checkpoint | quote }} is no path: write it as the pods see it
{{- end }}
{{- if and (or $promotion.checkpoint $promotion.back) .Values.releases }}
- promotion and releases are both set: a promotion starts the second release itself
{{- end }}
{{- if lt (int $promotion.drainSeconds) (int .Values.turnSeconds) }}
- promotion.drainSeconds is {{ int $promotion.drainSeconds }}: the old release must live for a turn of {{ int .Values.turnSeconds }} s
{{- end }}
{{- end -}}

{{- define "parley.check.checkpoints" -}}
{{- $checkpoints := .Values.checkpoints -}}
{{- $chosen := list -}}
{{- if $checkpoints.existingClaim }}{{ $chosen = append $chosen "existingClaim" }}{{ end -}}
{{- if $checkpoints.claim.create }}{{ $chosen = append $chosen "claim.create" }}{{ end -}}
{{- if $checkpoints.volume }}{{ $chosen = append $chosen "volume" }}{{ end -}}
{{- if gt (len $chosen) 1 }}
- checkpoints has {{ join " and " $chosen }}: choose one
{{- end }}
{{- range (include "parley.releases" . | fromYaml).list }}
{{- if and (not $chosen) (hasPrefix (printf "%s/" $checkpoints.mountPath) .checkpoint) }}
- the checkpoint {{ .checkpoint }} lies in the checkpoints' volume, but there is none: set checkpoints.existingClaim, checkpoints.claim.create or checkpoints.volume
{{- end }}
{{- end }}
{{- if and $checkpoints.claim.create (hasPrefix "ReadWriteOnce" $checkpoints.claim.accessMode) }}
- checkpoints.claim.accessMode is {{ $checkpoints.claim.accessMode }}, but the pods of all services mount the volume, on any node: use ReadWriteMany or ReadOnlyMany
{{- end }}
{{- end -}}

{{- define "parley.check.ray" -}}
{{- $ray := .Values.ray -}}
{{- if eq $ray.upgradeStrategy "NewClusterWithIncrementalUpgrade" }}
- ray.upgradeStrategy: KubeRay moves HTTP traffic only in an incremental upgrade, and the services speak gRPC: use NewCluster or None
{{- end }}
{{- if lt (int $ray.clusterDeletionDelaySeconds) (int .Values.turnSeconds) }}
- ray.clusterDeletionDelaySeconds is {{ int $ray.clusterDeletionDelaySeconds }}: an old cluster must outlive a turn of {{ int .Values.turnSeconds }} s
{{- end }}
{{- $drain := (include "parley.ray" . | fromYaml).drainSeconds | int }}
{{- if gt (int .Values.turnSeconds) $drain }}
- turnSeconds is {{ int .Values.turnSeconds }}: a replica that is removed gives its streams {{ $drain }} s, and would cut a longer turn
{{- end }}
{{- include "parley.check.memory" (dict "where" "ray.head" "values" $ray.head) }}
{{- include "parley.check.variables" (dict "root" . "where" "ray.head" "values" $ray.head) }}
{{- $taken := list 6379 8080 8265 8404 9101 10001 52365 (int (include "parley.ray" . | fromYaml).serveConfig.http_options.port) (int (include "parley.ray" . | fromYaml).serveConfig.grpc_options.port) }}
{{- if or (has (int .Values.metrics.port) $taken) (has (int (add1 .Values.metrics.port)) $taken) }}
- metrics.port {{ int .Values.metrics.port }} or the one after it, of a second replica, is a port of Ray's: choose another
{{- end }}
{{- end -}}

{{- define "parley.check.gateway" -}}
{{- $gateway := .Values.gateway -}}
{{- if and $gateway.autoscaling.enabled $gateway.keda.enabled }}
- gateway.autoscaling and gateway.keda are both enabled: two scalers would fight over one Deployment
{{- end }}
{{- range $name := list "autoscaling" "keda" }}
{{- $scaling := index $gateway $name }}
{{- if gt (int $scaling.minReplicas) (int $scaling.maxReplicas) }}
- gateway.{{ $name }}: minReplicas {{ int $scaling.minReplicas }} exceeds maxReplicas {{ int $scaling.maxReplicas }}
{{- end }}
{{- end }}
{{- if and $gateway.keda.enabled (not $gateway.keda.serverAddress) }}
- gateway.keda needs serverAddress, the Prometheus to ask, as in http://prometheus.monitoring:9090
{{- end }}
{{- $least := ternary $gateway.autoscaling.minReplicas (ternary $gateway.keda.minReplicas $gateway.replicas $gateway.keda.enabled) $gateway.autoscaling.enabled | int }}
{{- if and $gateway.podDisruptionBudget.enabled (ge (int $gateway.podDisruptionBudget.minAvailable) $least) }}
- gateway.podDisruptionBudget.minAvailable {{ int $gateway.podDisruptionBudget.minAvailable }} of {{ $least }} pods: no node could ever be drained
{{- end }}
{{- include "parley.check.grace" (dict "root" . "where" "gateway" "seconds" $gateway.terminationGracePeriodSeconds) }}
{{- include "parley.check.settings" (dict "root" . "name" "gateway" "where" "gateway" "settings" $gateway.settings "own" (list "SERVER_HOST" "SERVER_PORT" "SERVER_HTTP_PORT" "SERVER_DRAIN_SECONDS" "SERVER_INSECURE" "ACCESS_KEYS" "ACCESS_ORIGINS" "CONVERSATION_MAX_TURN_SECONDS" "STORE_REDIS_URL" "STORE_EMBEDDINGS_URL" "UPSTREAM_ADDRESSES")) }}
{{- $own := list "HOME" "REDIS_URL" "PARLEY_SERVICES" "PARLEY_SERVICE_TOKEN" "SESSIONS_PASSWORD" "EMBEDDINGS_PASSWORD" "PARLEY_GATEWAY_SERVER_HOST" "PARLEY_GATEWAY_SERVER_PORT" "PARLEY_GATEWAY_SERVER_HTTP_PORT" "PARLEY_GATEWAY_SERVER_DRAIN_SECONDS" "PARLEY_GATEWAY_SERVER_INSECURE" "PARLEY_GATEWAY_ACCESS_KEYS" "PARLEY_GATEWAY_ACCESS_ORIGINS" "PARLEY_GATEWAY_CONVERSATION_MAX_TURN_SECONDS" "PARLEY_GATEWAY_STORE_EMBEDDINGS_URL" }}
{{- include "parley.check.duplicates" (dict "where" "gateway" "own" $own "prefix" "PARLEY_GATEWAY_" "values" $gateway) }}
{{- end -}}

{{- define "parley.check.ways" -}}
{{- if and .Values.ingress.enabled (not (or .Values.ingress.http.host .Values.ingress.grpc.host)) }}
- ingress needs a host: set ingress.http.host, ingress.grpc.host or both
{{- end }}
{{- if and .Values.ingress.http.host (eq .Values.ingress.http.host .Values.ingress.grpc.host) }}
- ingress.http.host and ingress.grpc.host are both {{ .Values.ingress.http.host }}: most controllers speak one protocol to a host's backend, so give each its own
{{- end }}
{{- if and .Values.gatewayApi.enabled (not .Values.gatewayApi.parentRefs) }}
- gatewayApi needs parentRefs: the Gateway that the routes belong to
{{- end }}
{{- end -}}

{{- define "parley.check.stores" -}}
{{- range $name := list "sessions" "embeddings" "rayStore" }}
{{- $store := index $.Values $name }}
{{- $limit := include "parley.bytes" (($store.resources.limits | default dict).memory | default "0") | float64 }}
{{- if and (gt $limit 0.0) (ge (include "parley.bytes" $store.maxMemory | float64) $limit) }}
- {{ $name }}.maxMemory {{ $store.maxMemory }} leaves nothing of the limit {{ $store.resources.limits.memory }} for the process itself: it would be killed when full
{{- end }}
{{- end }}
{{- end -}}

{{/* Of each service: (dict "root" $ "name" "llm_core" "service" its-values) */}}

{{- define "parley.check.scaling" -}}
{{- $service := .service -}}
{{- $scaling := $service.autoscaling -}}
{{- $pods := $service.pods -}}
{{- if gt (int $scaling.minReplicas) (int $scaling.maxReplicas) }}
- services.{{ .name }}.autoscaling: minReplicas {{ int $scaling.minReplicas }} exceeds maxReplicas {{ int $scaling.maxReplicas }}
{{- end }}
{{- if and (gt (int $pods.max) 0) (gt (int $pods.min) (int $pods.max)) }}
- services.{{ .name }}.pods: min {{ int $pods.min }} exceeds max {{ int $pods.max }}
{{- end }}
{{- range $name := keys $scaling.settings | sortAlpha }}
{{- $known := (include "parley.ray" $.root | fromYaml).scalingSettings }}
{{- if not (has $name $known) }}
- services.{{ $.name }}.autoscaling.settings.{{ $name }}: there is no such setting; there are {{ join ", " $known }}
{{- end }}
{{- end }}
{{- if gt (include "parley.replicasPerPod" $service | int) 0 }}
{{- $counts := include "parley.pods" (dict "root" .root "service" .name) | fromYaml }}
{{- $most := (include "parley.replicas" $service | fromYaml).most | int }}
{{- if lt (mul (int $counts.max) (int $counts.perPod)) $most }}
- services.{{ .name }}: {{ $most }} replicas do not fit into {{ int $counts.max }} pods of {{ int $counts.perPod }}: raise pods.max
{{- end }}
{{- if and $service.podDisruptionBudget.enabled (ge (int $service.podDisruptionBudget.minAvailable) (int $counts.min)) }}
- services.{{ .name }}.podDisruptionBudget.minAvailable {{ int $service.podDisruptionBudget.minAvailable }} of {{ int $counts.min }} pods: no node could ever be drained
{{- end }}
{{- end }}
{{- end -}}

{{- define "parley.check.gpus" -}}
{{- $service := .service -}}
{{- $gpus := include "parley.podGpus" $service | float64 -}}
{{- $each := float64 $service.numGpus -}}
{{- if and (gt $gpus 0.0) (eq $each 0.0) }}
- services.{{ .name }}: its pod has {{ $gpus }} {{ $service.gpuResource }} and numGpus is 0, so that Ray would never add a pod: set numGpus, the share of a GPU that a replica takes
{{- else if and (gt $each 0.0) (eq $gpus 0.0) }}
- services.{{ .name }}: numGpus is {{ $each }}, but its pod has no GPU: set resources.limits.{{ $service.gpuResource }}
{{- else if gt $each $gpus }}
- services.{{ .name }}: numGpus is {{ $each }}, but its pod has {{ $gpus }} {{ $service.gpuResource }}: no replica would ever fit
{{- end }}
{{- if and (gt $each 1.0) (ne $each (floor $each)) }}
- services.{{ .name }}: numGpus is {{ $each }}: above 1, Ray takes whole numbers only
{{- end }}
{{- $requested := index ($service.resources.requests | default dict) $service.gpuResource }}
{{- if and $requested (ne (float64 $requested) $gpus) }}
- services.{{ .name }}: resources.requests and resources.limits differ in {{ $service.gpuResource }}: Kubernetes wants the same number
{{- end }}
{{- end -}}

{{- define "parley.check.pod" -}}
{{- $where := printf "services.%s" .name -}}
{{- if eq "latest" .service.image.tag }}
- {{ $where }}.image.tag is "latest", which names another image every day: set a version
{{- end }}
{{- include "parley.check.memory" (dict "where" $where "values" .service) }}
{{- include "parley.check.grace" (dict "root" .root "where" $where "seconds" .service.terminationGracePeriodSeconds) }}
{{- include "parley.check.variables" (dict "root" .root "where" $where "values" .service) }}
{{- include "parley.check.settings" (dict "root" .root "name" .name "where" $where "settings" .service.settings "own" (list "CHECKPOINT" "NUM_REPLICAS" "MAX_REPLICAS" "SCALE_UP_SECONDS" "SCALE_DOWN_SECONDS" "METRICS_HOST" "METRICS_PORT")) }}
{{- end -}}

{{/* Parts of the above. */}}

{{- define "parley.check.grace" -}}
{{- if and .seconds (lt (int .seconds) (add (int .root.Values.turnSeconds) 15)) }}
- {{ .where }}.terminationGracePeriodSeconds is {{ int .seconds }}: a pod that stops must have time for a turn of {{ int .root.Values.turnSeconds }} s and 15 s more
{{- end }}
{{- end -}}

{{- define "parley.check.memory" -}}
{{- if gt (float64 .values.objectStoreBytes) (include "parley.bytes" .values.sharedMemory | float64) }}
- {{ .where }}.objectStoreBytes {{ int64 .values.objectStoreBytes }} do not fit into sharedMemory {{ .values.sharedMemory }}
{{- end }}
{{- end -}}

{{- define "parley.check.settings" -}}
{{- $known := index (include "parley.ray" .root | fromYaml).settings .name -}}
{{- range $name := keys .settings | sortAlpha }}
{{- if has $name $.own }}
- {{ $.where }}.settings.{{ $name }} is set by the chart itself, from other values
{{- else if not (has $name $known) }}
- {{ $.where }}.settings.{{ $name }}: there is no such setting; there are {{ join ", " (without $known $.own) }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Names in extraEnv that a Ray container has already, from this chart or from KubeRay. */}}
{{- define "parley.check.variables" -}}
{{- $own := concat (keys (include "parley.ray" .root | fromYaml).environment) (list "HOME" "PARLEY_METRICS_HOST" "PARLEY_METRICS_PORT" "PARLEY_SERVICE_TOKEN" "RAY_AUTH_TOKEN" "RAY_REDIS_ADDRESS" "REDIS_PASSWORD" "REDIS_USERNAME" "RAY_external_storage_namespace" "RAY_CLUSTER_NAME" "RAY_CLUSTER_NAMESPACE" "RAY_CLOUD_INSTANCE_ID" "RAY_NODE_TYPE_NAME" "KUBERAY_GEN_RAY_START_CMD" "FQ_RAY_IP" "RAY_IP" "RAY_ADDRESS" "RAY_PORT" "RAY_enable_autoscaler_v2" "RAY_USAGE_STATS_EXTRA_TAGS") -}}
{{- include "parley.check.duplicates" (dict "where" .where "own" $own "prefix" "" "values" .values) }}
{{- end -}}

{{- define "parley.check.duplicates" -}}
{{- $own := .own -}}
{{- range $name := keys (.values.settings | default dict) }}{{ $own = append $own (printf "%s%s" $.prefix $name) }}{{ end -}}
{{- range .values.extraEnv }}
{{- if has .name $own }}
- {{ $.where }}.extraEnv sets {{ .name }}, which is set already
{{- end }}
{{- $own = append $own .name }}
{{- end }}
{{- end -}}

{{/* Bytes of "128Mi", "2Gi", "768mb" or "12gb"; 0 for what is written otherwise. */}}
{{- define "parley.bytes" -}}
{{- $text := . | toString | lower -}}
{{- if regexMatch "^[0-9]+(gi|gb)$" $text -}}{{ mul (regexFind "^[0-9]+" $text | int64) 1073741824 }}
{{- else if regexMatch "^[0-9]+(mi|mb)$" $text -}}{{ mul (regexFind "^[0-9]+" $text | int64) 1048576 }}
{{- else -}}0{{- end -}}
{{- end -}}
