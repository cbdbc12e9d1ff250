//! The places of reftables in a git directory, for everything that must recognize them.

/// The folder of the tables and of their list, in a git directory.
pub const FOLDER: &str = "reftable";

/// The file that names the current tables, in a git directory. It is replaced by each change of a ref.
pub const LIST: &str = "reftable/tables.list";

/// The target of the file `HEAD` in a git directory with reftables. No ref has this name, and the real `HEAD` is in a table.
///
/// The setting `extensions.refStorage` decides. The file is a cheaper sign of it.
pub const HEAD_TARGET: &str = "refs/heads/.invalid";
