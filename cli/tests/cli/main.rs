//! The built command line without root, network or engine: words, files, streams.

mod completion;
mod files;
mod keys;
mod listings;
mod named;
mod oracle;
mod place;
mod progress;
mod streams;
mod words;
