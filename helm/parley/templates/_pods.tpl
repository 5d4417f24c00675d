{{/* Pod templates of the Ray cluster. */}}

{{/* What every pod of this chart has: (dict "root" $ "values" …) */}}
{{- define "parley.podCommon" -}}
{{- with .root.Values.images.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - {name: {{ . }}}
  {{- end }}
{{- end }}
securityContext:
  {{- toYaml .root.Values.podSecurityContext | nindent 2 }}
enableServiceLinks: false
{{- with .values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .values.runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- with .values.initContainers }}
initContainers:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "parley.headTemplate" -}}
{{- $head := .Values.ray.head -}}
{{- $ray := include "parley.ray" . | fromYaml -}}
metadata:
  labels:
    {{- include "parley.selector" (dict "root" . "tier" "ray" "component" "head") | nindent 4 }}
    {{- with $head.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with $head.podAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  serviceAccountName: {{ include "parley.fullname" . }}-head
  automountServiceAccountToken: {{ .Values.ray.autoscaler.enabled }}  # the autoscaler speaks to the API server
  terminationGracePeriodSeconds: 30
  {{- include "parley.podCommon" (dict "root" . "values" $head) | nindent 2 }}
  containers:
    - name: ray-head
      image: {{ include "parley.image" (dict "root" . "image" .Values.images.services) }}
      imagePullPolicy: {{ .Values.images.services.pullPolicy }}
      securityContext:
        {{- toYaml .Values.containerSecurityContext | nindent 8 }}
      ports:
        - {name: gcs-server, containerPort: 6379}
        - {name: dashboard, containerPort: 8265}
        - {name: metrics, containerPort: 8080}
        - {name: serve, containerPort: {{ $ray.serveConfig.http_options.port }}}
        - {name: serve-grpc, containerPort: {{ $ray.serveConfig.grpc_options.port }}}
      env:
        {{- include "parley.rayEnvironment" . | trim | nindent 8 }}
        {{- with $head.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      resources:
        {{- toYaml $head.resources | nindent 8 }}
      startupProbe:
        {{- include "parley.rayNodeProbe" (dict "periodSeconds" 5 "timeoutSeconds" 5 "failureThreshold" 60) | nindent 8 }}
      readinessProbe:
        {{- include "parley.rayNodeProbe" (dict "periodSeconds" 5 "timeoutSeconds" 5 "failureThreshold" 3) | nindent 8 }}
      livenessProbe:
        {{- include "parley.rayNodeProbe" (dict "periodSeconds" 10 "timeoutSeconds" 5 "failureThreshold" 6) | nindent 8 }}
      volumeMounts:
        {{- include "parley.rayVolumeMounts" (dict "root" . "values" $head) | trim | nindent 8 }}
  volumes:
    {{- include "parley.rayVolumes" (dict "root" . "values" $head) | trim | nindent 4 }}
{{- end -}}

{{/* (dict "root" $ "name" "llm_core" "service" its-values) */}}
{{- define "parley.serviceTemplate" -}}
{{- $root := .root -}}
{{- $service := .service -}}
{{- $image := merge (deepCopy $service.image) $root.Values.images.services -}}  {{- /* what is empty is of the latter */ -}}
{{- $component := include "parley.dashed" .name -}}
{{- $ray := include "parley.ray" $root | fromYaml -}}
{{- $selector := include "parley.selector" (dict "root" $root "tier" "ray" "component" $component) -}}
{{- $grace := include "parley.grace" (dict "root" $root "seconds" $service.terminationGracePeriodSeconds) | int -}}
metadata:
  labels:
    {{- $selector | nindent 4 }}
    {{- with $service.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with $service.podAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  serviceAccountName: {{ include "parley.serviceAccountName" $root }}
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: {{ $grace }}
  {{- include "parley.podCommon" (dict "root" $root "values" $service) | nindent 2 }}
  {{- with $service.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- include "parley.spread" (dict "constraints" . "selector" $selector) | trim | nindent 4 }}
  {{- end }}
  containers:
    - name: ray-worker
      image: {{ include "parley.image" (dict "root" $root "image" $image) }}
      imagePullPolicy: {{ $image.pullPolicy }}
      securityContext:
        {{- toYaml $root.Values.containerSecurityContext | nindent 8 }}
      ports:
        - {name: metrics, containerPort: 8080}
        - {name: parley-metrics, containerPort: {{ $root.Values.metrics.port }}}
        - {name: parley-metrics2, containerPort: {{ add1 $root.Values.metrics.port }}}  # of a second replica of the pod
        - {name: serve, containerPort: {{ $ray.serveConfig.http_options.port }}}
        - {name: serve-grpc, containerPort: {{ $ray.serveConfig.grpc_options.port }}}
      env:
        {{- include "parley.rayEnvironment" $root | trim | nindent 8 }}
        {{- with include "parley.settings" (dict "prefix" (index $ray.environmentPrefixes .name) "settings" $service.settings) }}
        {{- . | trim | nindent 8 }}
        {{- end }}
        {{- with $service.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- with $service.extraEnvFrom }}
      envFrom:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      resources:
        {{- toYaml $service.resources | nindent 8 }}
      startupProbe:
        {{- include "parley.rayNodeProbe" $service.probes.startup | nindent 8 }}
      # A replica on this node answers, and not only the node's proxy: a model that still loads takes no place of
      # another's in the disruption budget.
      readinessProbe:
        exec: {command: [python, -m, services.ray.node_replicas, ready]}
        {{- toYaml $service.probes.readiness | nindent 8 }}
      livenessProbe:
        {{- include "parley.rayNodeProbe" $service.probes.liveness | nindent 8 }}
      lifecycle:
        # Serve starts the node's replicas elsewhere; the pod stops when the last of them is gone.
        preStop:
          exec: {command: [python, -m, services.ray.node_replicas, drain, {{ sub $grace 15 | toString | quote }}]}
      volumeMounts:
        {{- include "parley.rayVolumeMounts" (dict "root" $root "values" $service) | trim | nindent 8 }}
  volumes:
    {{- include "parley.rayVolumes" (dict "root" $root "values" $service "temporary" $service.temporary) | trim | nindent 4 }}
{{- end -}}
