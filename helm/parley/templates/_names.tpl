{{/* Names, labels and images. */}}

{{- define "parley.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}{{ .Release.Name }}{{- else -}}{{ .Release.Name }}-{{ $name }}{{- end -}}
{{- end -}}
{{- end -}}

{{/* Labels of every object. */}}
{{- define "parley.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name (.Chart.Version | replace "+" "_") }}
app.kubernetes.io/name: parley
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Labels that pods are selected by: (dict "root" $ "tier" "ray" "component" "llm-core"); without a component, the tier.
     Not app.kubernetes.io/name: on a head's pod KubeRay's own Service selects by it. */}}
{{- define "parley.selector" -}}
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
parley/tier: {{ .tier }}
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end -}}

{{/* A name that Kubernetes takes, of a service's: llm_core -> llm-core. */}}
{{- define "parley.dashed" -}}
{{- . | replace "_" "-" -}}
{{- end -}}

{{/* (dict "root" $ "image" .Values.images.gateway) */}}
{{- define "parley.image" -}}
{{ .image.repository }}:{{ .image.tag | default .root.Chart.AppVersion }}
{{- end -}}

{{- define "parley.secretName" -}}
{{ .Values.secrets.existingSecret | default (printf "%s-secrets" (include "parley.fullname" .)) }}
{{- end -}}

{{- define "parley.serviceAccountName" -}}
{{ .Values.serviceAccount.name | default (ternary (include "parley.fullname" .) "default" .Values.serviceAccount.create) }}
{{- end -}}

{{/* An environment variable from this chart's Secret: (dict "root" $ "name" "X" "key" "y") */}}
{{- define "parley.secretVariable" -}}
- name: {{ .name }}
  valueFrom:
    secretKeyRef: {name: {{ include "parley.secretName" .root }}, key: {{ .key }}}
{{- end -}}

{{/* Constraints with the pods they count, where they name none: (dict "constraints" list "selector" yaml) */}}
{{- define "parley.spread" -}}
{{- range .constraints }}
- {{ merge (deepCopy .) (dict "labelSelector" (dict "matchLabels" ($.selector | fromYaml))) | toYaml | nindent 2 | trim }}
{{- end }}
{{- end -}}

{{/* How long a pod may take to stop: at least the longest turn and a little. */}}
{{- define "parley.grace" -}}
{{- if .seconds -}}{{ int .seconds }}{{- else -}}{{ add (int .root.Values.turnSeconds) 30 }}{{- end -}}
{{- end -}}

{{/* Variables by name: (dict "prefix" "PARLEY_GATEWAY_" "settings" map) */}}
{{- define "parley.settings" -}}
{{- range $name, $value := .settings }}
- {name: {{ $.prefix }}{{ $name }}, value: {{ $value | toString | quote }}}
{{- end }}
{{- end -}}
