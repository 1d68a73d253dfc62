FROM python:3.12-slim AS build

WORKDIR /src
RUN python -m venv --without-pip /opt/venv

# The source changes far more often than its dependencies, so these have a layer of their own.
COPY pyproject.toml ./
RUN python -c "import tomllib; p = tomllib.load(open('pyproject.toml', 'rb'))['project']; print(*p['dependencies'], *p['optional-dependencies']['otel'], sep='\n')" > requirements.txt \
    && pip --python /opt/venv install --no-cache-dir --no-compile --requirement requirements.txt \
    # By hash, and never checked: some builders round the times of files, and bytecode that goes by them is then stale.
    && python -m compileall -q --invalidation-mode unchecked-hash /opt/venv/lib

COPY README.md LICENSE ./
COPY vibetracker ./vibetracker
RUN pip --python /opt/venv install --no-cache-dir --no-compile --no-deps . \
    && python -m compileall -q --invalidation-mode unchecked-hash /opt/venv/lib/python3.12/site-packages/vibetracker


FROM python:3.12-slim

ENV PATH="/opt/venv/bin:$PATH" \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1

RUN groupadd --gid 10001 vibetracker \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin vibetracker

# Owned by root: the process cannot rewrite its own code.
COPY --from=build /opt/venv /opt/venv

# The image of Python comes without bytecode of its standard library, and the process may write none.
RUN env -u PYTHONDONTWRITEBYTECODE python -c "import vibetracker.main"

# Where a volume for SQLite belongs: a new one takes over its owner.
RUN mkdir /data && chown 10001:10001 /data
VOLUME /data

WORKDIR /app
# As a number, so that an orchestrator can tell that it is not root.
USER 10001:10001

EXPOSE 8000

# http.client, because urllib would go through a proxy set in the environment. The start period covers the wait for a
# database.
HEALTHCHECK --interval=10s --timeout=3s --start-period=40s --retries=3 \
    CMD ["python", "-c", "import http.client, os; c = http.client.HTTPConnection('127.0.0.1', os.environ.get('PORT') or 8000, timeout=2); c.request('GET', '/health/live'); raise SystemExit(c.getresponse().status != 200)"]

# Exec form, so that SIGTERM reaches the server.
CMD ["vibetracker", "serve", "--host", "0.0.0.0"]
