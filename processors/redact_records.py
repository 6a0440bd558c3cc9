"""A decoded record without secrets, in every field that is stored: names and labels hold them too.

Log records are left to `lines.py`, and the message of an event to `shape.py`, which know how much of them is kept.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Final

from processors.canonical import MOST_CHARS
from processors.redact import Redactor
from schemas.records import Alert, KubernetesEvent, MetricSample, Resource, State
from schemas.settings import Redaction

REMEMBERED: Final = 1 << 16  # labels and resources come again and again; long ones hardly do
_NO_QUOTES: Final = str.maketrans("\"'`\\\n", "_____")


class RecordRedactor(Redactor):
    """A redactor that knows the shape of records. Pure; the caches are invisible."""

    def __init__(self, settings: Redaction) -> None:
        super().__init__(settings)
        self.resource = lru_cache(maxsize=REMEMBERED)(self._redacted_resource)
        self._field = lru_cache(maxsize=REMEMBERED)(self._redacted_field)

    def record(self, record: State) -> State:
        resource = self.resource(record.resource)
        if isinstance(record, MetricSample):
            return replace(
                record,
                resource=resource,
                name=self(record.name),
                labels=self.fields(record.labels),
                unit=self(record.unit),
            )
        if isinstance(record, KubernetesEvent):
            return replace(
                record,
                resource=resource,
                uid=self(record.uid),
                object_kind=self(record.object_kind),
                object_name=self(record.object_name),
                reason=self(record.reason),
                component=self(record.component),
            )
        return self._alert(record, resource)

    def _alert(self, alert: Alert, resource: Resource) -> Alert:
        return replace(
            alert,
            resource=resource,
            fingerprint=self(alert.fingerprint),
            name=self(alert.name),
            labels=self.fields(alert.labels),
            annotations=self.fields(alert.annotations),
        )

    def fields(self, fields: Mapping[str, str]) -> dict[str, str]:
        """Labels and the like: a value may be a secret by its own shape or by its name."""
        return dict(
            self._field(name, value) if len(name) + len(value) <= MOST_CHARS else self._redacted_field(name, value)
            for name, value in fields.items()
        )

    def _redacted_field(self, name: str, value: str) -> tuple[str, str]:
        shown = self(value)
        if shown == value:
            before = f'{name}="'
            whole = self(f'{before}{value.translate(_NO_QUOTES)}"')
            if whole.startswith(before + "<redacted:"):
                shown = whole.removeprefix(before).removesuffix('"')
        return self(name), shown

    def _redacted_resource(self, resource: Resource) -> Resource:
        pod, workload = self(resource.pod), self(resource.workload)
        if pod != resource.pod and resource.workload in resource.pod:  # told from the pod's name: part of a secret
            workload = pod
        cleaned = Resource(
            cluster=self(resource.cluster),
            namespace=self(resource.namespace),
            workload=workload,
            pod=pod,
            container=self(resource.container),
            node=self(resource.node),
        )
        return resource if cleaned == resource else cleaned
