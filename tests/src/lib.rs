//! Davit's end-to-end tests are in `tests/e2e`, one binary with a module per theme.
