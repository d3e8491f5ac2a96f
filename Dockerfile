# pgsteer with nothing but itself: the default plugins are embedded in the binary.

FROM rust:1.95-bookworm AS build
WORKDIR /src
# Alone in its layer: packages are installed again only when the script changes.
COPY scripts/prerequisites.sh scripts/
RUN scripts/prerequisites.sh --build
COPY . .
RUN cargo build --release --locked -p pgsteer-proxy

FROM debian:bookworm-slim
# The directory is for the admin socket.
RUN useradd --system --user-group --no-create-home pgsteer \
    && install -d -o pgsteer -g pgsteer -m 0755 /run/pgsteer \
    && install -d -o pgsteer -g pgsteer -m 0700 /var/lib/pgsteer
COPY --from=build /src/target/release/pgsteer /usr/local/bin/pgsteer
USER pgsteer
# As in the images this one replaces: a mapping of 9999:5432 keeps working.
ENV PGPOOL_PORT_NUMBER=5432
# `docker exec CONTAINER pgsteer node list` finds it too.
ENV PGSTEER_ADMIN_SOCKET=/run/pgsteer/admin.sock
# Which node was the primary last: mount a volume there, so that a new container knows it too.
ENV PGSTEER_STATE_DIR=/var/lib/pgsteer
# The second one is for the pcp_* tools, if PGPOOL_ADMIN_USERNAME and PGPOOL_ADMIN_PASSWORD are set.
EXPOSE 5432 9898
# Alive is enough here: whether nodes are usable shows in `SHOW pool_nodes`, and restarting the proxy
# would not help a node.
HEALTHCHECK --interval=5s --timeout=3s --start-period=20s --retries=3 \
    CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/${PGPOOL_PORT_NUMBER}"]
STOPSIGNAL SIGTERM
CMD ["pgsteer", "serve"]
