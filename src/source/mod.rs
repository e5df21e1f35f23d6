//! Files of the desired state: reading a folder into a catalog, writing a catalog as KDL.

pub mod folder;
pub mod read;
pub mod write;

pub use folder::write_folder;
pub use read::{Desired, ReadError, read_folder, read_text};
pub use write::{document, nodes};
