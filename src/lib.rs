//! `schema`.

pub mod pg;
