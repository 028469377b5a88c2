# The worker without a model: artifacts are fetched into a volume when it starts, so one image serves all sizes.
# The base must be a Debian with Python 3.11 to 3.13.
ARG BASE_IMAGE=python:3.12-slim-bookworm

FROM ${BASE_IMAGE} AS builder
WORKDIR /build
COPY requirements/uv.txt requirements/image.txt ./requirements/
# Exact versions by digest, wheels only: nothing is compiled and no package's own code runs at build time.
RUN python3 -m venv /build/uv \
    && /build/uv/bin/pip install --no-cache-dir --no-deps --only-binary :all: --require-hashes \
        --requirement requirements/uv.txt \
    && python3 -m venv --without-pip /opt/whisper-consumer \
    && /build/uv/bin/uv pip sync --no-cache --python /opt/whisper-consumer/bin/python --only-binary :all: \
        --require-hashes --compile-bytecode requirements/image.txt
COPY binding /app/binding
COPY schemas /app/schemas
COPY consumer /app/consumer
RUN python3 -m compileall -q /app

FROM ${BASE_IMAGE}
LABEL org.opencontainers.image.title="whisper-consumer" \
    org.opencontainers.image.description="Transcribes recordings announced on Kafka with whisper.cpp" \
    org.opencontainers.image.licenses="Apache-2.0"

# libgomp1: what libraries built with OpenMP need.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 worker \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin worker \
    && install --directory --owner=worker --group=worker /var/lib/whisper-consumer /var/spool/whisper-consumer

COPY --from=builder /opt/whisper-consumer /opt/whisper-consumer
COPY --from=builder /app /app
COPY scripts/entrypoint /usr/local/bin/whisper-consumer

ENV PATH=/opt/whisper-consumer/bin:$PATH \
    PYTHONPATH=/app \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    WHISPER_ARTIFACTS_DIR=/var/lib/whisper-consumer \
    SPOOL_DIR=/var/spool/whisper-consumer

USER 10001:10001
WORKDIR /var/lib/whisper-consumer
EXPOSE 9090
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + os.environ.get('HTTP_PORT', '9090') + '/livez', timeout=4)"]
ENTRYPOINT ["whisper-consumer"]
CMD ["run"]
