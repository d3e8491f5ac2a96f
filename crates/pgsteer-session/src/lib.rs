//! The data plane: client connections, the session state machine, the query pipeline, the relay.
