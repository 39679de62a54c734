{{- /* Names, labels and the parts that all pods have in common. */ -}}

{{- /* At most 44 characters: the longest name has 19 more, and a name has 63. */ -}}
{{- define "switchyard.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{ .Release.Name | trunc 44 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 44 | trimSuffix "-" }}
{{- end -}}
{{- end -}}

{{- /* What a Service or a policy selects by: never changed, a Deployment's selector can't be. */ -}}
{{- define "switchyard.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "switchyard.labels" -}}
{{ include "switchyard.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end -}}

{{- define "switchyard.image" -}}
{{ printf "%s-%s:%s" .root.Values.image.repository .image (.root.Values.image.tag | default .root.Chart.AppVersion) }}
{{- end -}}

{{- define "switchyard.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{ .Values.serviceAccount.name | default (include "switchyard.fullname" .) }}
{{- else -}}
{{ .Values.serviceAccount.name | default "default" }}
{{- end -}}
{{- end -}}

{{- define "switchyard.metadata" -}}
labels:
  {{- include "switchyard.labels" . | nindent 2 }}
{{- with (index .root.Values .component).podAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- /* Of every pod. Without enableServiceLinks: false, Kubernetes would put variables such as
SWITCHYARD_ENGINE_PORT=tcp://… into every pod, and the processes refuse settings that they don't
know or can't read. */ -}}
{{- define "switchyard.pod" -}}
serviceAccountName: {{ include "switchyard.serviceAccount" .root }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "switchyard.scheduling" -}}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "switchyard.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{- /* Environment that every process has: home, database, store. */ -}}
{{- define "switchyard.environment" -}}
- name: SWITCHYARD_HOME
  value: /var/lib/switchyard
- name: HOME
  value: /var/lib/switchyard
- name: SWITCHYARD_REGISTRY_DATABASE_URL
  valueFrom:
    secretKeyRef:
      name: {{ .Values.registry.existingSecret }}
      key: {{ .Values.registry.databaseUrlKey }}
- name: SWITCHYARD_REGISTRY_STORE_URL
  value: {{ .Values.store.url | default "file:///var/lib/switchyard-store" | quote }}
{{- with .Values.store.endpointUrl }}
- name: AWS_ENDPOINT_URL
  value: {{ . | quote }}
{{- end }}
{{- end -}}

{{- define "switchyard.engineKey" -}}
- name: SWITCHYARD_ENGINE_API_KEY
  valueFrom:
    secretKeyRef:
      name: {{ .Values.registry.existingSecret }}
      key: {{ .Values.registry.engineApiKeyKey }}
{{- end -}}

{{- /* {field: value} as SWITCHYARD_<PROCESS>_<FIELD>, but for those that the chart sets itself.
Whole numbers reach a template as floats, and large ones would print as 8.388608e+06. */ -}}
{{- define "switchyard.settings" -}}
{{- range $field, $value := .settings }}
{{- $name := printf "%s%s" $.prefix (upper $field) }}
{{- if has $field $.taken }}
{{- fail (printf "%s.%s: the chart sets %s itself; take the value away" $.where $field $name) }}
{{- end }}
{{- if and (kindIs "float64" $value) (eq $value (floor $value)) }}
{{- $value = int64 $value }}
{{- end }}
- name: {{ $name }}
  value: {{ $value | toString | quote }}
{{- end }}
{{- end -}}

{{- define "switchyard.secretEnvironment" -}}
{{- if or .root.Values.store.existingSecret (and .base .root.Values.base.existingSecret) }}
envFrom:
  {{- with .root.Values.store.existingSecret }}
  - secretRef:
      name: {{ . }}
  {{- end }}
  {{- if .base }}
  {{- with .root.Values.base.existingSecret }}
  - secretRef:
      name: {{ . }}
  {{- end }}
  {{- end }}
{{- end }}
{{- end -}}

{{- define "switchyard.mounts" -}}
- name: home
  mountPath: /var/lib/switchyard
- name: tmp
  mountPath: /tmp
{{- if not .root.Values.store.url }}
- name: store
  mountPath: /var/lib/switchyard-store
{{- end }}
{{- if and .base .root.Values.base.existingClaim }}
- name: base
  mountPath: /models
  readOnly: true
{{- end }}
{{- end -}}

{{- define "switchyard.volumes" -}}
- name: home
  emptyDir:
    sizeLimit: {{ .scratch }}
- name: tmp
  emptyDir:
    sizeLimit: 1Gi
{{- if not .root.Values.store.url }}
- name: store
  persistentVolumeClaim:
    claimName: {{ .root.Values.store.volume.existingClaim | default (printf "%s-store" (include "switchyard.fullname" .root)) }}
{{- end }}
{{- if and .base .root.Values.base.existingClaim }}
- name: base
  persistentVolumeClaim:
    claimName: {{ .root.Values.base.existingClaim }}
    readOnly: true
{{- end }}
{{- end -}}

{{- define "switchyard.resources" -}}
{{- $resources := deepCopy .resources -}}
{{- if .gpus -}}
{{- $resources = mergeOverwrite $resources (dict "limits" (dict "nvidia.com/gpu" .gpus)) -}}
{{- end -}}
{{- toYaml $resources -}}
{{- end -}}
