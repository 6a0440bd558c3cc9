"""Probes and metrics; open to everyone who can reach the port, as Kubernetes and Prometheus expect."""

import asyncio
from typing import Final

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from api.wiring import Wired
from schemas.chat import Readiness

READINESS_TIMEOUT_S: Final = 5.0
REQUIRED: Final = "opensearch"  # without the index there is no evidence; without the others answers get poorer

router = APIRouter(tags=["Operation"])


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """The process lives. Asks no store."""
    return {"status": "ok"}


@router.get("/readyz", response_model=Readiness, responses={503: {"model": Readiness}})
async def readyz(wiring: Wired) -> Response:
    """Whether questions can be answered, and what is wrong with each part. 503 while the index is away."""
    try:
        async with asyncio.timeout(READINESS_TIMEOUT_S):
            parts = await wiring.assistant.readiness() | wiring.door.readiness()
    except TimeoutError:
        parts = {REQUIRED: f"the check took longer than {READINESS_TIMEOUT_S:g} s"}
    state = _state(parts)
    return JSONResponse(state.model_dump(), 503 if state.status == "unavailable" else 200)


@router.get("/metrics", response_class=Response)
async def metrics(wiring: Wired) -> Response:
    """Prometheus' text format; the names are in `schemas/telemetry.py`."""
    return Response(generate_latest(wiring.metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})


def _state(parts: dict[str, str]) -> Readiness:
    """A part may say more after its `ok`, such as that answers are extractive."""
    if not parts.get(REQUIRED, "").startswith("ok"):
        return Readiness(status="unavailable", parts=parts)
    every = all(said.startswith("ok") for said in parts.values())
    return Readiness(status="ready" if every else "degraded", parts=parts)
