FROM python:3.11-slim

ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1

# The bot needs no rights of root; the state it keeps belongs to this user.
RUN useradd --create-home --uid 10001 aegis \
    && mkdir /state \
    && chown aegis:aegis /state

WORKDIR /app

COPY requirements.lock ./
RUN python -m pip install --require-hashes -r requirements.lock

COPY pyproject.toml README.md ./
COPY src ./src
RUN python -m pip install --no-deps --no-build-isolation .

# Settings without secrets; keys come from the environment at run time, never with the image.
COPY config.py ./

USER aegis
ENV AEGIS_STATE_DIR=/state
VOLUME ["/state"]

# Asks the bot itself: does its loop turn, and does the way out of positions work. Docker shows the
# answer and starts nothing anew; 2 (no bot there) is a code Docker keeps for itself.
HEALTHCHECK --interval=60s --timeout=20s --start-period=120s --retries=3 \
    CMD python -m aegis health || exit 1

# Exec form: the bot is process 1 and gets SIGTERM itself, which ends it cleanly.
ENTRYPOINT ["python", "-m", "aegis"]
