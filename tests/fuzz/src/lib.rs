//! What the fuzz targets need of the server, compiled here by itself: the protocol room stands on `limits`
//! alone, so a target builds in seconds instead of instrumenting the runtime and the allocator as well.

#[path = "../../../server/src/limits.rs"]
pub mod limits;

#[path = "../../../server/src/resp/mod.rs"]
pub mod resp;
