{{/* The Valkeys. Each is one process: what it holds is small, and a new pod reads it from the volume in seconds. */}}

{{/* Whether the chart runs a store: (dict "root" $ "name" "sessions"). Prints true or nothing. */}}
{{- define "parley.ownStore" -}}
{{- $values := .root.Values -}}
{{- if eq .name "sessions" -}}{{- if not $values.sessions.external.secretName }}true{{ end -}}
{{- else if eq .name "embeddings" -}}{{- if and $values.embeddings.enabled (not $values.embeddings.external.secretName) }}true{{ end -}}
{{- else -}}{{- if not $values.rayStore.external.address }}true{{ end -}}
{{- end -}}
{{- end -}}

{{/* The URL of a store as environment variables: (dict "root" $ "name" "sessions" "store" values "variable" "REDIS_URL"
     "passwordKey" key). The password is random letters and digits, or must be written as in a URL. */}}
{{- define "parley.storeUrl" -}}
{{- if .store.external.secretName }}
- name: {{ .variable }}
  valueFrom:
    secretKeyRef: {name: {{ .store.external.secretName }}, key: {{ .store.external.key }}}
{{- else }}
{{- $password := printf "%s_PASSWORD" (upper .name) }}
{{ include "parley.secretVariable" (dict "root" .root "name" $password "key" .passwordKey) }}
- {name: {{ .variable }}, value: "redis://:$({{ $password }})@{{ include "parley.fullname" .root }}-{{ .name }}:6379/0"}
{{- end }}
{{- end -}}

{{/* (dict "root" $ "name" "sessions" "store" values "passwordKey" key "policy" "noeviction" "durable" true) */}}
{{- define "parley.store" -}}
{{- $root := .root -}}
{{- $store := .store -}}
{{- $name := printf "%s-%s" (include "parley.fullname" $root) .name -}}
{{- $selector := include "parley.selector" (dict "root" $root "tier" "store" "component" .name) -}}
{{- $claim := and .durable $store.persistence.enabled -}}
apiVersion: v1
kind: Service
metadata:
  name: {{ $name }}
  namespace: {{ $root.Release.Namespace | quote }}
  labels:
    {{- include "parley.labels" $root | nindent 4 }}
spec:
  clusterIP: None
  selector:
    {{- $selector | nindent 4 }}
  ports:
    - {name: redis, port: 6379, targetPort: redis}
---
apiVersion: apps/v1
kind: StatefulSet
metadata:
  name: {{ $name }}
  namespace: {{ $root.Release.Namespace | quote }}
  labels:
    {{- include "parley.labels" $root | nindent 4 }}
spec:
  serviceName: {{ $name }}
  replicas: 1
  selector:
    matchLabels:
      {{- $selector | nindent 6 }}
  template:
    metadata:
      labels:
        {{- $selector | nindent 8 }}
    spec:
      serviceAccountName: {{ include "parley.serviceAccountName" $root }}
      automountServiceAccountToken: false
      terminationGracePeriodSeconds: 60  # it writes what it has before it ends
      {{- include "parley.podCommon" (dict "root" $root "values" $store) | nindent 6 }}
      containers:
        - name: valkey
          image: {{ include "parley.image" (dict "root" $root "image" $root.Values.images.store) }}
          imagePullPolicy: {{ $root.Values.images.store.pullPolicy }}
          securityContext:
            {{- toYaml $root.Values.containerSecurityContext | nindent 12 }}
          command: [valkey-server]
          args:
            - --dir
            - /data
            - --save
            - ""
            - --appendonly
            - {{ ternary "yes" "no" .durable | quote }}
            - --maxmemory
            - {{ $store.maxMemory }}
            - --maxmemory-policy
            - {{ .policy }}
            - --requirepass
            - $(PASSWORD)
          env:
            {{- include "parley.secretVariable" (dict "root" $root "name" "PASSWORD" "key" .passwordKey) | nindent 12 }}
            {{- include "parley.secretVariable" (dict "root" $root "name" "REDISCLI_AUTH" "key" .passwordKey) | nindent 12 }}
          ports:
            - {name: redis, containerPort: 6379}
          resources:
            {{- toYaml $store.resources | nindent 12 }}
          startupProbe:  # reading a large file takes its time
            exec: {command: [valkey-cli, -e, ping]}
            periodSeconds: 2
            timeoutSeconds: 3
            failureThreshold: 150
          readinessProbe:
            exec: {command: [valkey-cli, -e, ping]}
            periodSeconds: 10
            timeoutSeconds: 3
          livenessProbe:
            tcpSocket: {port: redis}
            periodSeconds: 10
            timeoutSeconds: 3
            failureThreshold: 6
          volumeMounts:
            - {name: data, mountPath: /data}
      {{- if not $claim }}
      volumes:
        - name: data
          emptyDir: {}
      {{- end }}
  {{- if $claim }}
  volumeClaimTemplates:
    - metadata:
        name: data
      spec:
        accessModes: [ReadWriteOnce]
        {{- with $store.persistence.storageClassName }}
        storageClassName: {{ . }}
        {{- end }}
        resources:
          requests: {storage: {{ $store.persistence.size }}}
  {{- end }}
{{- end -}}
