//! Reading what replicas wrote: entries of the container runtime interface's format, over
//! rotated files, and what is added while somebody listens.

mod entry;
mod source;

pub(crate) use source::{FILES_MAX, Source, Wanted};
