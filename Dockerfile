# syntax=docker/dockerfile:1
FROM python:3.11.14-slim-bookworm AS build
WORKDIR /src
RUN python -m venv /opt/legacy-bridge
COPY requirements/run.txt requirements/
RUN /opt/legacy-bridge/bin/pip install --no-cache-dir --require-hashes --requirement requirements/run.txt
COPY pyproject.toml README.md LICENSE ./
COPY bridge bridge
RUN /opt/legacy-bridge/bin/pip install --no-cache-dir --no-deps .

FROM python:3.11.14-slim-bookworm
RUN useradd --system --uid 10001 --user-group --no-create-home --home-dir /var/lib/legacy-bridge legacy-bridge \
 && install --directory --owner 10001 --group 10001 --mode 0700 /var/lib/legacy-bridge
COPY --from=build /opt/legacy-bridge /opt/legacy-bridge
ENV PATH=/opt/legacy-bridge/bin:$PATH PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /var/lib/legacy-bridge
VOLUME /var/lib/legacy-bridge
EXPOSE 8079
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --retries=5 --start-period=30s CMD ["legacy-bridge", "health", "--ready"]
ENTRYPOINT ["legacy-bridge"]
CMD ["run", "--config", "/etc/legacy-bridge/bridge.yaml"]
