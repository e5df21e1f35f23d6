//! Files of the desired state: reading a folder into a catalog, writing a catalog as KDL.

pub mod cache;
mod compare;
pub mod folder;
pub mod layout;
mod merge;
pub mod read;
mod references;
mod resolve;
mod rules;
pub mod write;

pub use folder::{FolderChanges, WriteError, write_folder};
pub use read::{Desired, ReadError, read_folder, read_text};
pub use write::{document, nodes};
