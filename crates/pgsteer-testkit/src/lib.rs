//! Real PostgreSQL clusters for tests and for pgsteer lab.
