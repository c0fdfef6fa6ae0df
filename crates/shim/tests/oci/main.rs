//! `davit-runc`: the command line of an OCI runtime, driven as engines drive it.
//!
//! `DAVIT_TEST_RUNTIME=runc` runs the same tests against runc: one that runc fails, for a rule that it
//! follows, is a wrong test. Those that are about this program alone say so.

mod checkpoint;
mod damage;
mod engines;
mod exec;
mod flags;
mod lifecycle;
mod races;
mod safety;
mod support;
mod verbs;
