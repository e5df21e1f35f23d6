//! `schema`.

pub mod kdl;
