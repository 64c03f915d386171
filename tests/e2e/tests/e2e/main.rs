//! The command line against real containers; each test says so where it cannot run.

mod packed;
