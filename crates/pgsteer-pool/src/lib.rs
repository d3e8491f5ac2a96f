//! Server connections: connect, authenticate, check out, reset, check in, retire.
