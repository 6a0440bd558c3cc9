# syntax=docker/dockerfile:1
# One image for the workers, the API and the command line. The tests do not build it; it needs no secret to build, and
# at run time secrets come as files (FRESHET_SECRETS_DIR) or variables.

FROM python:3.11-slim-bookworm AS build
COPY --from=ghcr.io/astral-sh/uv:0.13.9 /uv /usr/local/bin/uv
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never
WORKDIR /app
# The kernel is compiled here; the image that runs has no compiler.
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
# Only the lock file and the kernel decide this layer: a change of our code does not fetch the packages again.
COPY pyproject.toml uv.lock ./
COPY processors/kernel processors/kernel
RUN --mount=type=cache,target=/root/.cache/uv uv sync --frozen --no-dev

FROM python:3.11-slim-bookworm
RUN useradd --system --uid 10001 --home-dir /app --no-create-home freshet
WORKDIR /app
COPY --from=build /app/.venv .venv
COPY schemas schemas
COPY processors processors
COPY cag cag
COPY streams streams
COPY api api
# The embedding model is a package of the lock file; nothing is fetched from a hub.
ENV PATH=/app/.venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HF_HUB_OFFLINE=1
USER 10001:10001
EXPOSE 8080
ENTRYPOINT ["python", "-m"]
CMD ["api"]
