"""How full the outbox is, as metrics of the client library's: they leave with its own (`Runtime.set_default`)."""

from __future__ import annotations

from temporalio.common import MetricGauge, MetricGaugeFloat
from temporalio.runtime import Runtime

from .store import Backlog


class Gauges:
    """`ptemporal_outbox_waiting`, `_parked` and `_oldest_seconds`, of one namespace."""

    def __init__(self, namespace: str) -> None:
        meter = Runtime.default().metric_meter.with_additional_attributes({"namespace": namespace})
        self._waiting: MetricGauge = meter.create_gauge(
            "ptemporal_outbox_waiting", "Rows of the outbox that wait for a relay.", "row"
        )
        self._parked: MetricGauge = meter.create_gauge(
            "ptemporal_outbox_parked", "Rows of the outbox that are set aside.", "row"
        )
        self._oldest: MetricGaugeFloat = meter.create_gauge_float(
            "ptemporal_outbox_oldest_seconds", "Since when the oldest of the rows that wait does.", "s"
        )

    def set(self, backlog: Backlog) -> None:
        self._waiting.set(backlog.waiting)
        self._parked.set(backlog.parked)
        self._oldest.set(max(0.0, backlog.oldest))
