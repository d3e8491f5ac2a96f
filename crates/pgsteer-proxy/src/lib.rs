//! The program: command line, wiring, signals.
