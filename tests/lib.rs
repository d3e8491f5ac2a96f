//! Nothing here: see the integration tests of this package.
