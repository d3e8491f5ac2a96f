//! What a statement is and does, from its text alone.
