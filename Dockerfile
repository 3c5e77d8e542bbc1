# The service in one image; `grab serve`, `grab ledger`, `grab migrate` and the others are its commands.
# Time zones come with the package tzdata, so the image needs nothing of the system.

FROM python:3.11-slim-bookworm AS build
WORKDIR /build
# Dependencies first: they change less often than the code.
COPY requirements/ requirements/
RUN python -m venv /opt/grab \
    && /opt/grab/bin/pip install --no-cache-dir --require-hashes -r requirements/run.lock \
    && pip install --no-cache-dir --require-hashes -r requirements/build.lock
COPY . .
RUN pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
    && /opt/grab/bin/pip install --no-cache-dir --no-deps dist/*.whl

FROM python:3.11-slim-bookworm
COPY --from=build /opt/grab /opt/grab
# Files of embedded servers may need their execute bit set, which their owner can do.
RUN useradd --uid 10001 --create-home grab \
    && install --directory --owner=grab /var/lib/grab
ENV PATH="/opt/grab/bin:$PATH" PYTHONUNBUFFERED=1
# By number, so that Kubernetes sees that it is not root.
USER 10001
WORKDIR /var/lib/grab
VOLUME /var/lib/grab
EXPOSE 8000
ENTRYPOINT ["grab"]
CMD ["--help"]
