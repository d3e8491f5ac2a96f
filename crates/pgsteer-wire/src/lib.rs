//! PostgreSQL's frontend/backend protocol as values: frames, the messages the proxy opens or writes, SQLSTATEs, password mechanisms.
