//! What the fuzz targets need of the server, compiled here by itself: the protocol room stands on `limits`
//! alone and the file format needs of the keyspace no more than its values, so a target builds in seconds instead of
//! instrumenting the runtime and the allocator as well.

#[path = "../../../server/src/limits.rs"]
pub mod limits;

#[path = "../../../server/src/resp/mod.rs"]
pub mod resp;

#[path = "../../../server/src/keyspace/access.rs"]
mod access;

#[path = "../../../server/src/keyspace/value.rs"]
mod value;

pub mod keyspace {
    pub use crate::access::*;
    pub use crate::value::*;
}

#[path = "../../../server/src/rdb/mod.rs"]
pub mod rdb;
